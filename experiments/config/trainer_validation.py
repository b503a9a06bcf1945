"""Checks of the configured trainer: that its fields go together, and with the rest of the configuration."""

from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from cme.runtime import distributed
from cme.runtime.extras import install_command
from experiments.config.schema import TRAINERS

LOSSES = {
    "grpo": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo"),
    "dpo": ("sigmoid", "hinge", "ipo"),
}


def check(config: DictConfig) -> None:
    """Raise ValueError, one sentence, for a trainer that cannot run."""
    trainer = config.trainer
    if TRAINERS.get(trainer.method) is not OmegaConf.get_type(trainer):
        raise ValueError(
            f"trainer.method={trainer.method} is not set by itself; use trainer={' or trainer='.join(TRAINERS)}"
        )
    if trainer.method == "dpo" and trainer.pairs is None:
        raise ValueError(
            f"trainer=dpo needs preference pairs, and data={config.data.name} has none; use data with pairs, such as "
            "data=world or data=ultrafeedback, or another trainer"
        )
    if missing := sorted(OmegaConf.missing_keys(trainer)):
        raise ValueError(
            f"trainer={trainer.method} has no sizes at scale={config.scale.name}: set {', '.join(missing)}"
        )
    own = {"grpo": _grpo, "dpo": _dpo, "best_of_n": _best_of_n}
    if trainer.method in own:
        own[trainer.method](config)
    if trainer.method != "best_of_n":
        _shared(config)
        _lora(config)
    if "loss_type" in trainer and trainer.loss_type not in LOSSES[trainer.method]:
        raise ValueError(
            f"trainer.loss_type={trainer.loss_type}; it must be one of {', '.join(LOSSES[trainer.method])}"
        )


def _shared(config: DictConfig) -> None:
    """The batch is that of all processes of a launch."""
    if min(config.trainer.per_device_train_batch_size, config.trainer.gradient_accumulation_steps) > 0:
        distributed.per_process_settings(config.trainer, distributed.process_count())


def _grpo(config: DictConfig) -> None:
    trainer = config.trainer
    if not 0 < trainer.top_p <= 1:
        raise ValueError(f"trainer.top_p={trainer.top_p}; it must be above 0 and at most 1")
    if trainer.num_generations < 2:
        raise ValueError(
            f"trainer.num_generations={trainer.num_generations}; a group needs at least 2 to have a baseline"
        )
    batch = trainer.per_device_train_batch_size * trainer.steps_per_generation
    if batch > 0 and batch % trainer.num_generations:
        divisors = [str(d) for d in range(2, batch + 1) if batch % d == 0]
        raise ValueError(
            f"trainer.num_generations={trainer.num_generations} does not divide the generation batch of {batch} "
            f"(per_device_train_batch_size {trainer.per_device_train_batch_size} x steps_per_generation "
            f"{trainer.steps_per_generation}); {batch} is divided by {', '.join(divisors)}"
        )

    if trainer.use_vllm:
        _vllm(config)


def _lora(config: DictConfig) -> None:
    lora = config.trainer.lora
    if lora is None:
        return
    if find_spec("peft") is None:
        raise ValueError(
            f"adapter=lora needs the package peft, which is not installed: {install_command('lora')}"
        )
    if lora.r < 1 or lora.lora_alpha < 1 or not 0 <= lora.lora_dropout < 1:
        raise ValueError(
            f"trainer.lora has r={lora.r}, lora_alpha={lora.lora_alpha} and lora_dropout={lora.lora_dropout}; r and "
            "lora_alpha must be at least 1, lora_dropout at least 0 and below 1"
        )
    if distributed.is_sharded():
        raise ValueError(
            "adapter=lora with a policy in parts (FSDP or DeepSpeed): its adapters cannot be merged into it; launch "
            "with conf/accelerate/ddp.yaml"
        )


def _vllm(config: DictConfig) -> None:
    trainer = config.trainer
    if trainer.vllm_mode not in ("colocate", "server"):
        raise ValueError(f"trainer.vllm_mode={trainer.vllm_mode}; it must be colocate or server")
    if (trainer.vllm_mode == "server") != (trainer.vllm_server_base_url is not None):
        raise ValueError(
            f"trainer.vllm_mode={trainer.vllm_mode} with trainer.vllm_server_base_url={trainer.vllm_server_base_url}; "
            "mode server needs the URL of `trl vllm-serve`, and mode colocate has none"
        )
    if not 0 < trainer.vllm_gpu_memory_utilization < 1:
        raise ValueError(
            f"trainer.vllm_gpu_memory_utilization={trainer.vllm_gpu_memory_utilization}; it must be above 0 and below "
            "1: it is vLLM's share of the GPU's memory"
        )
    tensor_parallel = trainer.vllm_tensor_parallel_size
    if tensor_parallel < 1 or (not config.plan and distributed.process_count() % tensor_parallel):
        raise ValueError(
            f"trainer.vllm_tensor_parallel_size={tensor_parallel}; it must divide the "
            f"{distributed.process_count()} processes of the launch"
        )
    if not config.plan and find_spec("vllm") is None:
        raise ValueError(
            "trainer.use_vllm=true needs the package vllm, which is not installed: pip install vllm, or use "
            "trainer.use_vllm=false"
        )


def _dpo(config: DictConfig) -> None:
    if config.trainer.beta <= 0:
        raise ValueError(f"trainer.beta={config.trainer.beta}; for trainer=dpo it must be above 0")


def _best_of_n(config: DictConfig) -> None:
    trainer = config.trainer
    if trainer.num_generations < 2:
        raise ValueError(
            f"trainer.num_generations={trainer.num_generations}; it must be at least 2 to choose from"
        )
    if trainer.sampling.temperature <= 0:
        raise ValueError(
            f"trainer.sampling.temperature={trainer.sampling.temperature}; it must be above 0, or all samples are one"
        )
    if trainer.lora is not None:
        raise ValueError(
            "trainer=best_of_n trains nothing, and adapter=lora trains adapters; use adapter=none"
        )
    if config.selection.every is not None:
        raise ValueError("trainer=best_of_n saves no checkpoints to select from; use selection.every=null")
    if config.capabilities.tasks:
        raise ValueError(
            "trainer=best_of_n trains nothing, so capabilities before and after are the same; use capabilities=none"
        )


def check_reward(config: DictConfig) -> None:
    """Raise ValueError, one sentence, for a reward of which the trainer takes less than it has."""
    own = config.reward.get("granularity") == "token" or config.reward.get("std_floor", 0) > 0
    if own and config.trainer.method == "best_of_n":
        raise ValueError(
            "trainer=best_of_n with reward.granularity=token or reward.std_floor; it compares one value a response, "
            "so use reward.granularity=sequence and reward.std_floor=0"
        )
    if own and config.trainer.method == "grpo" and config.trainer.scale_rewards == "batch":
        raise ValueError(
            "trainer.scale_rewards=batch with reward.granularity=token or reward.std_floor; it must be group or none"
        )

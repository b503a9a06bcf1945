"""The fields of each trainer, and its rules on how they fit each other and the rest of a run."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

from cme.runtime import distributed
from cme.runtime.extras import install_command
from experiments.config.runs import Run
from experiments.config.settings import MOST_TOKENS, Component, neutral, setting


def uses_groups(reward: Component) -> bool:
    """Whether a reward changes the advantages within a group: by a value per token, or a floor under the deviation."""
    return reward.arguments.get("granularity") == "token" or bool(reward.arguments.get("std_floor", 0) > 0)


@dataclass
class Lora:
    """Low-rank adapters (arXiv 2106.09685) instead of all weights, with the field names of peft.LoraConfig."""

    r: int = setting(help="rank", at_least=1)
    lora_alpha: int = setting(help="scale of the adapters", at_least=1)
    lora_dropout: float = setting(help="dropout in the adapters", at_least=0, below=1)
    target_modules: Any = setting(help="names of the adapted modules, or all-linear")


@dataclass
class Trainer:
    """Fields of all trainers."""

    UNUSED: ClassVar[tuple[str, ...]] = ()
    """Groups of the configuration that this trainer does not use; they are not part of its runs."""
    ALSO_TRAINING: ClassVar[tuple[str, ...]] = ()
    """Fields of later stages that change the training by this trainer too."""

    lora: Lora | None = None

    def check(self, run: Run) -> None:
        """Raise ValueError, with one sentence, for a run that this trainer cannot train."""


@dataclass
class Optimization(Trainer):
    """How weights are updated, with the field names of transformers.TrainingArguments."""

    max_steps: int = setting(help="optimizer steps", above=0)
    per_device_train_batch_size: int = setting(
        help="batch size over all devices; each process takes its share", above=0
    )
    gradient_accumulation_steps: int = setting(1, help="batches per optimizer step", above=0)
    learning_rate: float = setting(help="highest learning rate", above=0)
    lr_scheduler_type: str = setting(
        "linear",
        help="learning rate schedule",
        choices=("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    )
    warmup_steps: int = setting(5, help="warm-up steps of the learning rate", at_least=0)
    weight_decay: float = setting(0.0, help="weight decay", at_least=0)
    adam_beta1: float = setting(0.9, help="Adam's beta1", at_least=0, below=1)
    adam_beta2: float = setting(0.999, help="Adam's beta2", at_least=0, below=1)
    max_grad_norm: float = setting(
        1.0, help="gradient norm above which gradients are clipped; 0: never", at_least=0
    )
    optim: str = setting(
        "adamw_torch", help="optimizer", choices=("adamw_torch", "adamw_torch_fused", "adafactor", "sgd")
    )
    bf16: bool | None = setting(
        None,
        help="whether the policy computes in bfloat16, with float32 weights; null: true on a GPU, false on a CPU",
        added_later=True,
    )

    def check(self, run: Run) -> None:
        """Raise ValueError where the processes cannot divide the batch, or cannot train adapters."""
        distributed.per_process_settings(run.values["trainer"], distributed.process_count())
        if self.lora is None:
            return
        if find_spec("peft") is None:
            raise ValueError(
                f"adapter=lora needs the package peft, which is not installed: {install_command('lora')}"
            )
        if distributed.is_sharded():
            raise ValueError(
                "adapter=lora with a sharded policy (FSDP or DeepSpeed): its adapters cannot be merged into it; launch "
                "with conf/accelerate/ddp.yaml"
            )


@dataclass
class Sampling:
    """How a model is sampled."""

    temperature: float = setting(help="sampling temperature", at_least=0)
    max_new_tokens: int = setting(help="tokens per response at most", above=0, at_most=MOST_TOKENS)
    batch_size: int = setting(help="prompts per batch; changes the responses of a seed", above=0)


@dataclass
class Grpo(Optimization):
    """GRPO on the configured reward, with the field names of trl.GRPOConfig."""

    method: str = setting("grpo", help="name of the trainer")
    use_vllm: bool = setting(False, help="whether vLLM samples the completions; docs/gpu.md")
    vllm_mode: str = neutral(
        "colocate",
        help="vLLM in this process (colocate) or behind a server",
        choices=("colocate", "server"),
    )
    vllm_server_base_url: str | None = neutral(None, help="URL of `trl vllm-serve`, for vllm_mode=server")
    vllm_gpu_memory_utilization: float = neutral(
        0.3, help="share of the GPU's memory for vLLM", above=0, below=1
    )
    vllm_tensor_parallel_size: int = neutral(1, help="devices over which vLLM splits the model", at_least=1)
    steps_per_generation: int = setting(1, help="batches per sampling", above=0)
    num_generations: int = setting(8, help="completions per prompt, which form a group", at_least=2)
    num_iterations: int = setting(1, help="updates per sampled batch", at_least=1)
    max_completion_length: int = setting(help="tokens per completion at most", above=0, at_most=MOST_TOKENS)
    mask_truncated_completions: bool = setting(False, help="whether the loss excludes unfinished completions")
    temperature: float = setting(1.0, help="sampling temperature", above=0)
    top_p: float = setting(1.0, help="probability mass of nucleus sampling", above=0, at_most=1)
    top_k: int = setting(0, help="number of most likely tokens to sample from; 0: all", at_least=0)
    repetition_penalty: float = setting(1.0, help="penalty on repeated tokens in sampling; 1: none", above=0)
    beta: float = setting(0.0, help="weight of the KL penalty", at_least=0)
    use_bias_correction_kl: bool = setting(
        True,
        help="whether the probability ratio multiplies the KL penalty, which gives its unbiased gradient; TRL's "
        "default since 1.10",
        added_later=True,
    )
    epsilon: float = setting(0.2, help="clipping range of the probability ratio", at_least=0)
    loss_type: str = setting(
        "dapo",
        help="aggregation of token losses",
        choices=("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo"),
    )
    scale_rewards: str = setting(
        "group",
        help="set of rewards whose standard deviation divides the advantages",
        choices=("group", "batch", "none"),
    )
    importance_sampling_level: str = setting(
        "token",
        help="whether probability ratios are per token or per sequence",
        choices=("token", "sequence"),
    )
    shuffle_dataset: bool = setting(True, help="whether training prompts are shuffled")

    def check(self, run: Run) -> None:
        """Raise ValueError where groups do not divide the batch, vLLM is missing, or the reward does not fit."""
        super().check(run)
        batch = self.per_device_train_batch_size * self.steps_per_generation
        if batch % self.num_generations:
            divisors = [str(d) for d in range(2, batch + 1) if batch % d == 0]
            raise ValueError(
                f"trainer.num_generations={self.num_generations} does not divide the generation batch of {batch} "
                f"(per_device_train_batch_size {self.per_device_train_batch_size} x steps_per_generation "
                f"{self.steps_per_generation}); use one of {', '.join(divisors)}"
            )
        if self.use_vllm:
            self._check_vllm(run)
        floor = run.reward.arguments.get("std_floor", 0)
        if floor > 0 and self.scale_rewards == "none":
            raise ValueError(
                f"reward.std_floor={floor} has no effect with trainer.scale_rewards=none; use "
                "trainer.scale_rewards=group"
            )
        if uses_groups(run.reward) and self.scale_rewards == "batch":
            raise ValueError(
                "trainer.scale_rewards=batch with reward.granularity=token or reward.std_floor; it must be group or "
                "none"
            )

    def _check_vllm(self, run: Run) -> None:
        if (self.vllm_mode == "server") != (self.vllm_server_base_url is not None):
            raise ValueError(
                f"trainer.vllm_mode={self.vllm_mode} with trainer.vllm_server_base_url={self.vllm_server_base_url}; "
                "mode server needs the URL of `trl vllm-serve`, and mode colocate accepts none"
            )
        if run.plan:
            return
        if distributed.process_count() % self.vllm_tensor_parallel_size:
            raise ValueError(
                f"trainer.vllm_tensor_parallel_size={self.vllm_tensor_parallel_size}; it must divide the "
                f"{distributed.process_count()} processes of the launch"
            )
        if find_spec("vllm") is None:
            raise ValueError(
                "trainer.use_vllm=true needs the package vllm, which is not installed: run `make vllm` in a checkout, "
                f"else {install_command('vllm')}, or use trainer.use_vllm=false"
            )


@dataclass
class Offline(Optimization):
    """Fields of DPO and SFT, whose policy answers prompts only to be measured."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")
    # the length of the measured answers
    ALSO_TRAINING: ClassVar[tuple[str, ...]] = ("evaluation.max_new_tokens",)

    max_length: int = setting(help="tokens of prompt and response together at most", above=0)
    monitor_prompts: int = setting(help="prompts that the policy answers at each measurement", above=0)


@dataclass
class Dpo(Offline):
    """DPO on preference pairs, with the field names of trl.DPOConfig."""

    method: str = setting("dpo", help="name of the trainer")
    pairs: Component | None = setting(
        "${data.pairs}", help="function that loads preference pairs, that of the data"
    )
    beta: float = setting(0.1, help="weight of the KL penalty", above=0)
    loss_type: str = setting("sigmoid", help="loss", choices=("sigmoid", "hinge", "ipo"))


@dataclass
class Sft(Offline):
    """Supervised fine-tuning on the verifier's answers to the training prompts, in the terms of trl.SFTConfig."""

    method: str = setting("sft", help="name of the trainer")
    sampling: Sampling = field(default_factory=Sampling)


@dataclass
class Distillation(Optimization):
    """On-policy distillation from the verifier, with the field names of trl.DistillationConfig."""

    UNUSED: ClassVar[tuple[str, ...]] = ("reward", "guard")

    method: str = setting("distillation", help="name of the trainer")
    beta: float = setting(
        1.0,
        help="divergence between policy and verifier; 1: reverse KL, 0: forward KL, between: Jensen-Shannon",
        at_least=0,
        at_most=1,
    )
    temperature: float = setting(1.0, help="temperature of the sampling and of the loss", above=0)
    max_completion_length: int = setting(help="tokens per completion at most", above=0, at_most=MOST_TOKENS)


@dataclass
class BestOfN(Trainer):
    """No training: the sample of the untrained model with the highest reward."""

    UNUSED: ClassVar[tuple[str, ...]] = ("guard", "monitor_every")

    method: str = setting("best_of_n", help="name of the trainer")
    num_generations: int = setting(8, help="samples per prompt", at_least=2)
    sampling: Sampling = field(default_factory=Sampling)

    def check(self, run: Run) -> None:
        """Raise ValueError where all samples would be equal, or a field needs a training."""
        if self.sampling.temperature <= 0:
            raise ValueError(
                f"trainer.sampling.temperature={self.sampling.temperature}; it must be above 0, or all samples are "
                "equal"
            )
        impossible = {
            "trains nothing, and adapter=lora trains adapters; use adapter=none": self.lora is not None,
            "saves no checkpoints to select from; use selection.every=null": run.selection.every is not None,
            "trains nothing, so capabilities before and after are the same; use capabilities=none": (
                run.capabilities.tasks
            ),
            "compares one value per response; use reward.granularity=sequence and reward.std_floor=0 with it, not "
            "reward.granularity=token or reward.std_floor": uses_groups(run.reward),
        }
        for reason, applies in impossible.items():
            if applies:
                raise ValueError(f"trainer=best_of_n {reason}")


TRAINERS: dict[str, type[Trainer]] = {
    "grpo": Grpo,
    "dpo": Dpo,
    "sft": Sft,
    "distillation": Distillation,
    "best_of_n": BestOfN,
}
"""The schema of each option of the group `trainer`, by its `method`."""

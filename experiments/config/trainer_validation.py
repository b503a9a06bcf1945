"""Checks that the fields of the trainer fit each other and the rest of the run."""

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from cme.judges.base import Judge
from cme.rewards.judge import ring
from cme.runtime import distributed
from cme.runtime.extras import install_command
from experiments.config import identity
from experiments.config.schema import BestOfN, Grpo

if TYPE_CHECKING:
    from experiments.config.runs import Run


def check(run: "Run") -> None:
    """Raise ValueError with one sentence for a trainer that cannot run."""
    trainer = run.trainer
    if isinstance(trainer, BestOfN):
        _check_best_of_n(run, trainer)
        return
    if isinstance(trainer, Grpo):
        _check_grpo(run, trainer)
    distributed.per_process_settings(run.values["trainer"], distributed.process_count())  # divides the batch
    if trainer.lora is not None and find_spec("peft") is None:
        raise ValueError(
            f"adapter=lora needs the package peft, which is not installed: {install_command('lora')}"
        )
    if trainer.lora is not None and distributed.is_sharded():
        raise ValueError(
            "adapter=lora with a sharded policy (FSDP or DeepSpeed): its adapters cannot be merged into it; launch "
            "with conf/accelerate/ddp.yaml"
        )


def _check_grpo(run: "Run", trainer: Grpo) -> None:
    batch = trainer.per_device_train_batch_size * trainer.steps_per_generation
    if batch % trainer.num_generations:
        divisors = [str(d) for d in range(2, batch + 1) if batch % d == 0]
        raise ValueError(
            f"trainer.num_generations={trainer.num_generations} does not divide the generation batch of {batch} "
            f"(per_device_train_batch_size {trainer.per_device_train_batch_size} x steps_per_generation "
            f"{trainer.steps_per_generation}); use one of {', '.join(divisors)}"
        )
    if not trainer.use_vllm:
        return
    if (trainer.vllm_mode == "server") != (trainer.vllm_server_base_url is not None):
        raise ValueError(
            f"trainer.vllm_mode={trainer.vllm_mode} with trainer.vllm_server_base_url={trainer.vllm_server_base_url}; "
            "mode server needs the URL of `trl vllm-serve`, and mode colocate accepts none"
        )
    if not run.plan and distributed.process_count() % trainer.vllm_tensor_parallel_size:
        raise ValueError(
            f"trainer.vllm_tensor_parallel_size={trainer.vllm_tensor_parallel_size}; it must divide the "
            f"{distributed.process_count()} processes of the launch"
        )
    if not run.plan and find_spec("vllm") is None:
        raise ValueError(
            "trainer.use_vllm=true needs the package vllm, which is not installed: run `make vllm` in a checkout, else "
            f"{install_command('vllm')}, or use trainer.use_vllm=false"
        )


def _check_best_of_n(run: "Run", trainer: BestOfN) -> None:
    if trainer.sampling.temperature <= 0:
        raise ValueError(
            f"trainer.sampling.temperature={trainer.sampling.temperature}; it must be above 0, or all samples are equal"
        )
    if trainer.lora is not None:
        raise ValueError(
            "trainer=best_of_n trains nothing, and adapter=lora trains adapters; use adapter=none"
        )
    if run.selection.every is not None:
        raise ValueError("trainer=best_of_n saves no checkpoints to select from; use selection.every=null")
    if run.capabilities.tasks:
        raise ValueError(
            "trainer=best_of_n trains nothing, so capabilities before and after are the same; use capabilities=none"
        )


def check_reward(run: "Run") -> None:
    """Raise ValueError with one sentence for settings of the reward that the trainer ignores."""
    reward = run.reward.arguments
    for name, member in run.reward.members.items():
        if member.arguments.get("granularity") == "token" or member.arguments.get("std_floor", 0) > 0:
            raise ValueError(
                f"reward.members.{name} with granularity=token or std_floor; a sum has one value per response, so use "
                f"reward.members.{name}.granularity=sequence and reward.members.{name}.std_floor=0"
            )
    if identity.averages_policy(run) and (run.trainer.lora is not None or distributed.is_sharded()):
        raise ValueError(
            f"reward={run.reward.name} averages all weights of the policy; use adapter=none, without FSDP and DeepSpeed"
        )
    for path, judge in identity.reward_judges(run).items():
        calls, limit = judged_comparisons(run, path), judge.arguments.get("max_calls")
        asks_server = cast("type[Judge]", judge.load_target()).asks_server
        if asks_server and (limit is None or limit < calls):
            raise ValueError(
                f"{path}.max_calls={limit}; the reward makes up to {calls} comparisons, so set it to {calls} or more, "
                f"use a smaller {path.removesuffix('judge')}neighbours, or fewer steps"
            )
    uses_groups = reward.get("granularity") == "token" or reward.get("std_floor", 0) > 0
    if uses_groups and isinstance(run.trainer, BestOfN):
        raise ValueError(
            "trainer=best_of_n with reward.granularity=token or reward.std_floor; it compares one value per response, "
            "so use reward.granularity=sequence and reward.std_floor=0"
        )
    scale_rewards = run.trainer.scale_rewards if isinstance(run.trainer, Grpo) else None
    if reward.get("std_floor", 0) > 0 and scale_rewards == "none":
        raise ValueError(
            f"reward.std_floor={reward['std_floor']} has no effect with trainer.scale_rewards=none; use "
            "trainer.scale_rewards=group"
        )
    if uses_groups and scale_rewards == "batch":
        raise ValueError(
            "trainer.scale_rewards=batch with reward.granularity=token or reward.std_floor; it must be group or none"
        )


def judged_comparisons(run: "Run", path: str) -> int:
    """The most comparisons, one per order, that a judge of the reward makes in a run, given its path."""
    trainer = run.trainer
    if isinstance(trainer, BestOfN):
        groups = run.data.eval_prompts
    else:
        rows = trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps
        batch = trainer.per_device_train_batch_size * trainer.steps_per_generation
        batches = math.ceil(trainer.max_steps * rows / trainer.num_iterations / batch)
        groups = math.ceil(batches * batch / trainer.num_generations)
    member = path.removeprefix("reward.").removesuffix("judge").removeprefix("members.").rstrip(".")
    asking = run.reward.members[member] if member else run.reward
    return 2 * groups * len(ring(trainer.num_generations, asking.arguments["neighbours"]))

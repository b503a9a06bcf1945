"""Checks that the reward fits the rest of a run, and the number of comparisons that its judge makes."""

import math
from typing import cast

from cme.judges.base import Judge
from cme.rewards.base import Reward
from cme.rewards.judge import ring
from cme.runtime import distributed
from experiments.config.runs import Run
from experiments.config.trainers import BestOfN, uses_groups


def check(run: Run) -> None:
    """Raise ValueError with one sentence for a reward that cannot be trained on in this run."""
    if not run.reward_parts:
        return
    if run.averages_policy and (run.trainer.lora is not None or distributed.is_sharded()):
        raise ValueError(
            f"reward={run.reward.name} averages all weights of the policy; use adapter=none, without FSDP and DeepSpeed"
        )
    for path, reward in {"reward": run.reward, **run.reward_parts}.items():
        size = reward.arguments.get("num_generations", run.trainer.num_generations)
        if size != run.trainer.num_generations:
            raise ValueError(
                f"{path}.num_generations={size}; it must be trainer.num_generations={run.trainer.num_generations}, the "
                "size of a group"
            )
        if path != "reward" and reward.members:
            raise ValueError(f"{path} is a sum itself; name its members instead")
        if path != "reward" and uses_groups(reward):
            raise ValueError(
                f"{path} with granularity=token or std_floor; a sum has one value per response, so use "
                f"{path}.granularity=sequence and {path}.std_floor=0"
            )
    for part in run.reward_parts.values():
        needs_answers = cast("type[Reward]", part.load_target()).needs_answers
        if needs_answers and part.arguments.get("oracle") is None and run.data.answers == "none":
            raise ValueError(
                f"reward={run.reward.name} compares answers, but data={run.data.name} has none (data.answers=none); "
                "use data with answers, such as data=world, or another reward"
            )
    for path, judge in run.reward_judges.items():
        kind, limit = cast("type[Judge]", judge.load_target()), judge.arguments.get("max_calls")
        calls = judged_comparisons(run, path) * kind.calls_per_comparison
        if kind.asks_server and (limit is None or limit < calls):
            raise ValueError(
                f"{path}.max_calls={limit}; the reward makes up to {calls} calls, so set it to {calls} or more, "
                f"use a smaller {path.removesuffix('judge')}neighbours, or fewer steps"
            )


def judged_comparisons(run: Run, path: str) -> int:
    """The most comparisons, one per order, that a judge of the reward makes in a run, given its path."""
    trainer = run.trainer
    if isinstance(trainer, BestOfN):
        groups = run.data.eval_prompts
    else:
        rows = trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps
        batch = trainer.per_device_train_batch_size * trainer.steps_per_generation
        batches = math.ceil(trainer.max_steps * rows / trainer.num_iterations / batch)
        groups = math.ceil(batches * batch / trainer.num_generations)
    asking = run.reward_parts[path.removesuffix(".judge")]
    return 2 * groups * len(ring(trainer.num_generations, asking.arguments.get("neighbours")))

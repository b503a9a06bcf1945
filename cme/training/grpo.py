"""GRPO with TRL's GRPOTrainer: one trained reward, the monitors and the collapse guard.

For a reward with values per token, or with a floor under the group's standard deviation, our own advantages replace
TRL's (`cme.training.advantages`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from datasets import Dataset
from trl import GRPOConfig

from cme.checkpoints import Checkpoint
from cme.records import Prompt
from cme.rewards.base import Reward
from cme.rewards.checked_reward import CheckedReward
from cme.training.collapse import CollapseCallback, CollapseGuard
from cme.training.history import StepClock, TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trl_internals import AdvantageTrainer, PromptTrainer


def train_grpo(
    start: Checkpoint,
    prompts: Sequence[Prompt],
    reward: Reward,
    monitors: Monitors,
    settings: Mapping[str, Any],
    guard: CollapseGuard,
    job: TrainingJob,
) -> TrainingResult:
    """Train `start.model` in place by GRPO and save the policy to `job.folder`.

    `settings` are fields of GRPOConfig by TRL's names (see `TrainingJob.arguments`).

    Raises TrainingFailed for rewards or gradients that are not finite, Interrupted for a signal, Unavailable where the
    disk is full, and ValueError for a reward per token or a `std_floor` that does not go with `scale_rewards`.
    """
    stop = {"generation_kwargs": {"stop_token_ids": list(start.end_ids)}} if settings.get("use_vllm") else {}
    config = job.arguments(GRPOConfig, {**settings, **stop, "reward_weights": [1.0, 0.0]})
    checked, clock = CheckedReward(reward), StepClock()
    trainer_class = cast("Callable[..., PromptTrainer]", PromptTrainer)
    if reward.granularity == "token" or reward.std_floor > 0:
        if config.scale_rewards == "batch":
            raise ValueError(
                "scale_rewards=batch with a reward per token or a std_floor; it must be group or none"
            )
        if config.scale_rewards == "none" and reward.std_floor > 0:
            raise ValueError(f"std_floor={reward.std_floor} has no effect with scale_rewards=none; use group")
        trainer_class = partial(AdvantageTrainer, checked)
    rows = [
        {"prompt": p.conversation, "prompt_text": p.text, "answer": p.answer, "reference": p.reference}
        for p in prompts
    ]
    trainer = trainer_class(
        clock=clock,
        model=start.model,
        processing_class=start.tokenizer,
        reward_funcs=[clock.timed("scoring", checked), clock.timed("monitoring", monitors)],
        args=config,
        train_dataset=Dataset.from_list(rows),
        peft_config=job.adapters(),
    )
    with reward.named_in_errors():
        reward.bind(trainer)
    monitors.bind(trainer, group_size=trainer.num_generations)
    samplings = config.gradient_accumulation_steps // (config.steps_per_generation * config.num_iterations)
    sampled = config.generation_batch_size * max(1, samplings)  # completions in each step that samples
    collapse = CollapseCallback(guard, groups_per_step=sampled // config.num_generations)
    result = job.run(trainer, [clock, collapse], {"guard": collapse, "reward": reward, "clock": clock})
    return replace(result, stopped=collapse.stopped, seconds=clock.seconds)

"""Best-of-n without training: of n sampled responses, the one with the highest reward.

Sampling and choosing are separate, so that samples can be kept and chosen from again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cme import TrainingFailed
from cme.checkpoints import Checkpoint
from cme.models.generation import decode_generation, generate_ids
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt
from cme.rewards.base import Reward
from cme.scoring.policy import UntrainedPolicy


@dataclass(frozen=True)
class Sample:
    """One sampled response and its reward, None where the reward could not score it."""

    generation: Generation
    reward: float | None


def sample_with_rewards(
    start: Checkpoint,
    prompts: Sequence[Prompt],
    reward: Reward,
    n: int,
    *,
    temperature: float,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    progress: str | None = None,
    log: GenerationLog | None = None,
) -> list[list[Sample]]:
    """`n` samples of `start` for each prompt, with their rewards.

    The reward is called once, as TRL calls it, with the n responses to a prompt as a group and `start` as the policy.
    Raises TrainingFailed for a reward that is not finite.
    """
    repeated = [p for p in prompts for _ in range(n)]
    ids = generate_ids(
        start.model,
        start.tokenizer,
        [p.text for p in repeated],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        temperature=temperature,
        seed=seed,
        progress=progress,
        log=log,
    )
    generations = [decode_generation(start.tokenizer, own, start.tokenizer.eos_token_id) for own in ids]
    reward.bind(UntrainedPolicy(start.tokenizer, start.model))
    values = reward(
        [[{"role": "user", "content": p.text}] for p in repeated],
        [[{"role": "assistant", "content": g.response}] for g in generations],
        ids,
        answer=[p.answer for p in repeated],
        log_metric=lambda key, value: None,
    )
    if broken := [v for v in values if v is not None and not math.isfinite(v)]:
        raise TrainingFailed(
            f"reward {reward.__name__!r} gave {broken[0]} for {len(broken)} of {len(values)} samples"
        )
    rows = [Sample(g, v) for g, v in zip(generations, values, strict=True)]
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def best_response(group: Sequence[Sample]) -> Generation:
    """The response with the highest reward, the first one on ties and in a group without any reward."""
    return max(group, key=lambda s: -math.inf if s.reward is None else s.reward).generation

"""Best-of-n without training: of n sampled responses, the one with the highest reward.

Sampling and choosing are separate, so that samples can be kept and chosen from again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from cme.checkpoints import Checkpoint
from cme.models.generation import GenerationSettings, decode, generate_ids
from cme.records import Generation, Prompt
from cme.rewards.base import Reward
from cme.rewards.checked_reward import check_finite, score_untrained
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
    **settings: Unpack[GenerationSettings],
) -> list[list[Sample]]:
    """`n` samples of `start` for each prompt, with their rewards.

    The reward is called once, as TRL calls it, with the n responses to a prompt as a group and `start` as the policy.
    Raises TrainingFailed for a reward that is not finite.
    """
    repeated = [p for p in prompts for _ in range(n)]
    ids = generate_ids(start.model, start.tokenizer, [p.conversation for p in repeated], **settings)
    generations = decode(start.tokenizer, ids, settings.get("end_ids") or start.end_ids)
    policy = UntrainedPolicy(start.tokenizer, start.model)
    values = score_untrained(reward, policy, repeated, [g.response for g in generations], ids)
    check_finite(reward, values, "samples")
    rows = [Sample(g, v) for g, v in zip(generations, values, strict=True)]
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def best_response(group: Sequence[Sample]) -> Generation:
    """The response with the highest reward, the first one on ties and in a group without any reward."""
    return max(group, key=lambda s: -math.inf if s.reward is None else s.reward).generation

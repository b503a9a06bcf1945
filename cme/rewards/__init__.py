"""Rewards in TRL's signature: `reward(prompts, completions, completion_ids, **columns)`, one file each.

A reward returns a float per completion, higher is better, or None for a completion that it cannot score.
None is never replaced by a number: TRL leaves such a completion out of its group's baseline and gives it
no advantage. A reward that needs the policy or its tokenizer takes it from `bind(trainer)`. One that looks at more
than a completion at a time has `whole_batch = True`: where several processes train, it is called with those of all.
"""

from cme.rewards.cross_model_entropy import CrossModelEntropy
from cme.rewards.format_reward import FormatReward
from cme.rewards.ground_truth import GroundTruth
from cme.rewards.length import Length
from cme.rewards.majority_vote import MajorityVote
from cme.rewards.random_reward import RandomReward
from cme.rewards.reverse_kl import ReverseKL
from cme.rewards.self_certainty import SelfCertainty
from cme.rewards.semantic_entropy import SemanticEntropy
from cme.rewards.token_entropy import TokenEntropy

__all__ = [
    "CrossModelEntropy",
    "FormatReward",
    "GroundTruth",
    "Length",
    "MajorityVote",
    "RandomReward",
    "ReverseKL",
    "SelfCertainty",
    "SemanticEntropy",
    "TokenEntropy",
]

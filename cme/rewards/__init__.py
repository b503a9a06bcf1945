"""Label-free rewards, and the controls that they are compared with. All derive from `cme.rewards.base.Reward`."""

from cme.rewards.base import Reward
from cme.rewards.controls import FormatReward, Length, RandomReward
from cme.rewards.cross_model.cross_model_entropy import CrossModelEntropy
from cme.rewards.cross_model.endorm import EndogenousReward
from cme.rewards.cross_model.moving_average import CrossModelEntropyEMA
from cme.rewards.cross_model.rank import CrossModelEntropyRank
from cme.rewards.cross_model.reverse_kl import ReverseKL
from cme.rewards.ground_truth import GroundTruth
from cme.rewards.judge import PairwiseJudge
from cme.rewards.majority_vote import MajorityVote
from cme.rewards.reference_likelihood import ReferenceLikelihood
from cme.rewards.self_certainty import SelfCertainty
from cme.rewards.semantic_entropy import SemanticEntropy
from cme.rewards.sequence_likelihood import SequenceLikelihood
from cme.rewards.token_entropy import TokenEntropy
from cme.rewards.weighted_sum import WeightedSum

__all__ = [
    "CrossModelEntropy",
    "CrossModelEntropyEMA",
    "CrossModelEntropyRank",
    "EndogenousReward",
    "FormatReward",
    "GroundTruth",
    "Length",
    "MajorityVote",
    "PairwiseJudge",
    "RandomReward",
    "ReferenceLikelihood",
    "ReverseKL",
    "Reward",
    "SelfCertainty",
    "SemanticEntropy",
    "SequenceLikelihood",
    "TokenEntropy",
    "WeightedSum",
]

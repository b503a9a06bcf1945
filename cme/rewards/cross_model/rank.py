"""Cross-Model Entropy by its rank within the group: the reward has no scale in nats.

    r(x, y_i) = rank_i / n

rank_i counts from 1, for the lowest Cross-Model Entropy of the n scored responses to a prompt, to n, for the highest.
Equal values share the mean of their ranks. All groups without ties have the same advantages.

NOVER (Liu et al., arXiv 2505.16022; github.com/thinkwee/NOVER, reward_functions.py) ranks the responses of a group like
this, from 1/n to 1.

Deviations: NOVER ranks by the perplexity of a reference answer under a copy of the policy, this reward by Cross-Model
Entropy, which needs no reference. NOVER breaks ties by the order of the responses. It gives 0 to a response in the
wrong format and adds rewards for format and efficiency, which are left out.
"""

from dataclasses import dataclass
from typing import Any

from cme.rewards.base import Texts, TokenIds, group_slices
from cme.rewards.cross_model.cross_model_entropy import CrossModelEntropy
from cme.rewards.cross_model.settings import VerifierReward, VerifierSettings, with_signature_of


@dataclass(frozen=True, kw_only=True)
class RankSettings(VerifierSettings):
    """Settings of the verifier, and `num_generations`: the size of a group, as TRL calls it."""

    num_generations: int


class CrossModelEntropyRank(VerifierReward):
    """The rank of each response's Cross-Model Entropy in its group, from above 0 to 1.

    With several processes, each scores the completions of all.

    Args:
        verifier: name of a checkpoint, or several names whose rewards are averaged before they are ranked.
        settings: fields of `RankSettings`.
    """

    __name__ = "cme_rank"
    SETTINGS = RankSettings
    whole_batch = True

    @with_signature_of(RankSettings)
    def __init__(self, verifier: str, *, num_generations: int, **settings: Any) -> None:
        self.check(verifier=verifier, num_generations=num_generations, **settings)
        self.num_generations = num_generations
        self.parts = {"cme": CrossModelEntropy(verifier, **settings)}

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Rank B completions, group by group; None for one that the verifier cannot score.

        Raises ValueError where a group is incomplete, RuntimeError where `bind` is needed and was not called.
        """
        from scipy.stats import rankdata

        values = self.parts["cme"](prompts, completions, completion_ids, **columns)
        rewards: list[float | None] = []
        for group in group_slices(prompts, self.num_generations):
            scored = [value for value in values[group] if value is not None]
            ranks = iter(rankdata(scored) / len(scored) if scored else [])
            rewards += [None if value is None else float(next(ranks)) for value in values[group]]
        return rewards

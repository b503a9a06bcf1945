"""Semantic entropy, EMPO (Zhang et al., arXiv 2504.05812).

    r(y_i) = p(c(y_i)) = |{j : c(y_j) = c(y_i)}| / G            or   r(y_i) = log p(c(y_i)), nats

c(y) is the cluster of the responses of a group that have the same meaning. Raising the expectation of log p lowers the
semantic entropy H = -sum_c p(c) log p(c), which is logged.

Two responses have the same meaning if

    data with answers      their answers are equivalent (`cme.grading.agreement.cluster_answers`)
    open-ended data        the cosine of their sentence embeddings (all-MiniLM-L6-v2, the first 256 word pieces) is at
                           least `threshold`

Clustering is greedy: each response is compared with the first member of each cluster
(`cme.grading.agreement.greedy_clusters`). A response without an answer, or without a word, is a cluster by itself. If
no response of a group has a meaning, the whole group is unscored (None).

EMPO's code (github.com/QingyangZhang/EMPO: src/open_r1/rewards.py, src/open_r1/semantic_uncertainty.py and
verl-empo/verl/utils/reward_score/empo/compute_metrics.py) settles the rest: shares count responses and are not weighted
by likelihood, clustering is greedy, a missing answer is a cluster by itself, and mathematics uses log p in the first
file and p in the last.

Deviations: for open-ended text EMPO asks a small model whether two answers agree, and gives -0.5 to a missing answer
and 0 to one that repeats the question. Its filters are left out: they give 0 to a whole group whose answers all differ
(mathematics) or whose largest cluster has less than a fifth of the responses (open-ended text).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cme.grading import agreement
from cme.grading.answers import AnswerKind, extract_answer, normalize_text
from cme.models import chat
from cme.rewards.base import LogMetric, Reward, Texts, TokenIds, group_slices

THRESHOLD = 0.8


@dataclass(eq=False, repr=False)
class SemanticEntropy(Reward):
    """The share, or its logarithm, of a group's responses that have the same meaning as each response.

    Args:
        answers: what part of a response is its answer; with `none`, responses are compared by their embeddings.
        num_generations: size of a group, TRL's `num_generations`.
        value: `probability` or `log_probability`.
        threshold: lowest cosine of two responses with the same meaning, for `answers=none`.

    Raises ValueError as `check` does, and Unavailable where the encoder of the embeddings is needed and not installed.
    """

    __name__ = "semantic_entropy"
    whole_batch = True

    answers: AnswerKind
    num_generations: int
    value: Literal["probability", "log_probability"] = "probability"
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        self.check(self.answers, self.value, self.threshold)
        if self.answers == "none":
            from cme.models.embeddings import require_encoder

            require_encoder("reward=semantic_entropy with data.answers=none")

    @classmethod
    def check(
        cls,
        answers: AnswerKind = "none",
        value: str = "probability",
        threshold: float = THRESHOLD,
        **settings: Any,
    ) -> None:
        """Raise ValueError for an unknown `value`, and for a `threshold` that is no cosine or has no effect."""
        if value not in ("probability", "log_probability"):
            raise ValueError(f"value={value}; it must be one of probability, log_probability")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}; a cosine must be above 0 and at most 1")
        if threshold != THRESHOLD and answers != "none":
            raise ValueError(
                f"threshold={threshold} has no effect with answers={answers}, which are compared as answers"
            )

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Cluster each group. Raises ValueError where a group is incomplete."""
        texts = [chat.to_text(c) for c in completions]
        rewards: list[float | None] = []
        entropies = []
        for group in group_slices(prompts, self.num_generations):
            clusters = self._clusters(texts[group])
            if clusters is None:
                rewards += [None] * self.num_generations
                continue
            shares = {cluster: count / len(clusters) for cluster, count in Counter(clusters).items()}
            entropies.append(-sum(share * math.log(share) for share in shares.values()))
            by_log = self.value == "log_probability"
            rewards += [math.log(shares[c]) if by_log else shares[c] for c in clusters]
        if log_metric and entropies:
            log_metric("semantic_entropy", sum(entropies) / len(entropies))
        return rewards

    def _clusters(self, texts: Sequence[str]) -> list[int] | None:
        """The cluster of each response of a group; None where no response has a meaning."""
        if self.answers == "none":
            meanings = [text if normalize_text(text) else None for text in texts]
        else:
            meanings = [extract_answer(text, self.answers) for text in texts]
        known = [meaning for meaning in meanings if meaning is not None]
        if not known:
            return None
        clusters = iter(self._cluster_meanings(known))
        single = iter(range(len(known), len(known) + len(meanings)))  # numbers that no other cluster has
        return [next(single) if meaning is None else next(clusters) for meaning in meanings]

    def _cluster_meanings(self, meanings: Sequence[str]) -> list[int]:
        if self.answers != "none":
            return agreement.cluster_answers(meanings, self.answers)
        from cme.models.embeddings import embed

        vectors = embed(meanings)  # (N, 384)
        cosines = vectors @ vectors.T

        def share_meaning(i: int, j: int) -> bool:
            # rounding can put the cosine of a text with itself below 1
            return meanings[i] == meanings[j] or bool(cosines[i, j] >= self.threshold)

        return agreement.greedy_clusters(range(len(meanings)), share_meaning)

"""Semantic entropy, EMPO (Zhang et al., arXiv 2504.05812).

    r(y_i) = p(c(y_i)) = |{j : c(y_j) = c(y_i)}| / G            or   r(y_i) = log p(c(y_i)), nats

c(y) is the cluster of the responses of a group that mean the same. To raise the expectation of log p is to lower
the semantic entropy H = -sum_c p(c) log p(c), which is logged.

What means the same:
    data with answers      the same answer (`cme.rewards.groups.cluster_answers`)
    open-ended data        a cosine of sentence embeddings (all-MiniLM-L6-v2, the first 256 word pieces) of at
                           least `threshold`
Clustering is greedy, each response against each cluster's first member (`cme.rewards.groups.greedy_clusters`). A
response without
an answer, or without a word, is a cluster of its own: it means the same as no other. Where no response of a group
has a meaning, the whole group is unscored (None).

Read in EMPO's code (github.com/QingyangZhang/EMPO, src/open_r1/rewards.py, src/open_r1/semantic_uncertainty.py and
verl-empo/verl/utils/reward_score/empo/compute_metrics.py): shares of responses, not weighed by likelihood; greedy
clustering; a missing answer as a cluster of its own; for mathematics log p in the first, p in the last.

Deviations: for open text EMPO asks a small model whether two answers agree, and gives -0.5 to a missing answer and 0
to one that repeats the question; its filters, which give 0 to a whole group whose answers all differ (mathematics) or
whose largest cluster is less than a fifth of it (open text), are left out.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from cme.grading.answers import AnswerKind, extract_answer, normalize_text
from cme.models import chat
from cme.rewards import groups


class SemanticEntropy:
    """The share, or its logarithm, of a group's responses that mean the same as each response.

    Args:
        answers: what part of a response is its answer; with `none` responses are compared by their embeddings.
        num_generations: size of a group, TRL's `num_generations`.
        value: `probability` or `log_probability`.
        threshold: lowest cosine of two responses that mean the same, for `answers=none`.
    """

    __name__ = "semantic_entropy"
    needs_answers = False
    whole_batch = True

    def __init__(
        self,
        answers: AnswerKind,
        num_generations: int,
        value: Literal["probability", "log_probability"] = "probability",
        threshold: float = 0.8,
    ) -> None:
        self.check(answers, num_generations, value, threshold)
        self.answers, self.num_generations = answers, num_generations
        self.value, self.threshold = value, threshold
        if answers == "none":
            from cme.models.embeddings import require_encoder

            require_encoder("reward=semantic_entropy with data.answers=none")

    @staticmethod
    def check(
        answers: AnswerKind, num_generations: int, value: str = "probability", threshold: float = 0.8
    ) -> None:
        """Raise ValueError, before anything loads, for settings that mean nothing."""
        if value not in ("probability", "log_probability"):
            raise ValueError(f"value={value}; it must be one of probability, log_probability")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}; a cosine must be above 0 and at most 1")

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Cluster each group. Raises ValueError when a group is not whole."""
        texts = [chat.to_text(c) for c in completions]
        rewards: list[float | None] = []
        entropies = []
        for group in groups.group_slices(prompts, self.num_generations):
            found = self._clusters(texts[group])
            if found is None:
                rewards += [None] * self.num_generations
                continue
            counts = Counter(found)
            shares = {cluster: count / len(found) for cluster, count in counts.items()}
            entropies.append(-sum(share * math.log(share) for share in shares.values()))
            by_log = self.value == "log_probability"
            rewards += [math.log(shares[c]) if by_log else shares[c] for c in found]
        if log_metric and entropies:
            log_metric("semantic_entropy", sum(entropies) / len(entropies))
        return rewards

    def _clusters(self, texts: Sequence[str]) -> list[int] | None:
        """The cluster of each response of a group; None where no response has a meaning."""
        meant: list[str | None]
        if self.answers == "none":
            meant = [text if normalize_text(text) else None for text in texts]
        else:
            meant = [extract_answer(text, self.answers) for text in texts]
        spoken = [meaning for meaning in meant if meaning is not None]
        if not spoken:
            return None
        named = iter(self._compared(spoken))
        alone = iter(range(len(spoken), len(spoken) + len(meant)))
        return [next(alone) if meaning is None else next(named) for meaning in meant]

    def _compared(self, meanings: Sequence[str]) -> list[int]:
        if self.answers != "none":
            return groups.cluster_answers(meanings, self.answers)
        from cme.models.embeddings import embed

        vectors = embed(meanings)  # (N, 384)
        cosines = vectors @ vectors.T
        # a text and itself are the same even where rounding puts their cosine below 1
        alike = lambda i, j: meanings[i] == meanings[j] or bool(cosines[i, j] >= self.threshold)  # noqa: E731
        return groups.greedy_clusters(range(len(meanings)), alike)

"""What every run measures but does not train on.

The monitors are a second reward function beside the trained reward. They return None for every completion: a number,
even at weight 0, would make TRL count a completion as scored that the trained reward could not score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from transformers import Trainer

from cme.checkpoints import Checkpoint
from cme.grading import agreement
from cme.grading.answers import (
    AnswerKind,
    extract_answer,
    has_final_answer,
    is_correct,
    is_right,
    normalize_text,
)
from cme.models import chat
from cme.records import Oracle
from cme.rewards.base import LogMetric, Texts, TokenIds
from cme.runtime import distributed
from cme.scoring.policy import PolicyScorer
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier


def repetition(text: str) -> float:
    """Share of a text's word bigrams that repeat an earlier one, in [0, 1]; 0 for fewer than two words."""
    words = normalize_text(text).split()
    bigrams = list(pairwise(words))
    return 1 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0


@dataclass(eq=False, repr=False)
class Monitors:
    """Measures every training step and logs through TRL's `log_metric`.

    Logged are:
        `repetition`: share of repeated word bigrams.
        `kl_from_start`: mean over completions of sum_t [log p_policy(y_t) - log p_start(y_t)], nats per response, also
            at beta 0. It is an unbiased estimate of the sequence KL from the untrained model where completions are
            sampled from the policy as it is (temperature 1, top-p 1, repetition penalty 1). Completions beyond the
            model's context are left out. TRL logs another estimate, per token, as `kl` where beta > 0.
        `quality`: true quality, 0-1, with an oracle.
        `heldout`: mean log-likelihood under the held-out verifier, nats per token, with such a verifier.
        On data of a mathematics track (`cme.grading.answers.has_final_answer`), without undecided comparisons:
        `accuracy`: share of right completions among those with a gold answer.
        `majority_share`: share of a group's completions that give its most common answer.
        `label_accuracy`: share of these most common answers that are right, whatever the reward: the quality of
            majority votes as labels. Both need complete groups, and skip groups without any answer.

    `kl_from_start` and `heldout` cost forward passes; they are measured every `every` steps and at the last planned
    step. With several processes, each measures these on its own completions, and the main process measures everything
    else on the completions of all.
    """

    __name__ = "monitors"

    start: Checkpoint
    heldout: Verifier | None
    oracle: Oracle | None
    every: int = 1
    answers: AnswerKind = "none"

    def __post_init__(self) -> None:
        self._trainer: Trainer | None = None
        self._group_size = 1
        self._start_scorer = TokenScorer(self.start.model)

    def bind(self, trainer: Trainer, group_size: int = 1) -> None:
        """Receive the trainer that holds the policy, and the number of completions per prompt."""
        self._trainer, self._group_size, self._policy = trainer, group_size, PolicyScorer(trainer)

    def is_due(self, step: int, last: int) -> bool:
        """Whether to measure what costs forward passes after `step` of `last` planned steps."""
        return step % self.every == 0 or step + 1 >= last

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        log_metric: LogMetric,
        answer: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Measure B completions; return B times None. Raises AssertionError before `bind`."""
        assert self._trainer is not None, "monitors need bind(trainer)"
        texts = [chat.to_text(c) for c in completions]
        finished = chat.finished_flags(completion_ids, self._policy.end_ids)
        gather = distributed.gather_rows
        all_answers = None if answer is None else gather(answer)
        all_rows = gather(prompts), gather(texts), gather(finished)
        measured: dict[str, list[float]] = {}
        if distributed.process_index() == 0:
            measured = self._measure_texts(*all_rows, all_answers)
        if self.is_due(self._trainer.state.global_step, self._trainer.state.max_steps):
            measured["kl_from_start"] = gather(self._kl(prompts, completion_ids))
            if self.heldout is not None:
                means = [s.mean for s in self.heldout.score(prompts, texts, finished) if s.mean is not None]
                measured["heldout"] = gather(means)
        for name, values in measured.items():
            if values:
                log_metric(name, sum(values) / len(values))
        return [None] * len(prompts)

    def _measure_texts(
        self,
        prompts: Texts,
        texts: Sequence[str],
        finished: Sequence[bool],
        gold: Sequence[str | None] | None,
    ) -> dict[str, list[float]]:
        measured = {"repetition": [repetition(text) for text in texts]}
        if self.oracle is not None:
            rows = zip(map(chat.to_text, prompts), texts, finished, strict=True)
            measured["quality"] = [self.oracle(prompt, text, end).quality for prompt, text, end in rows]
        if gold is None or not has_final_answer(self.answers):
            return measured
        graded = [is_correct(text, right, self.answers) for text, right in zip(texts, gold, strict=True)]
        shares, labels, size = [], [], self._group_size
        for start in range(0, len(texts) if len(texts) % size == 0 else 0, size):
            answers = [extract_answer(text, self.answers) for text in texts[start : start + size]]
            winner, agreed = agreement.majority_answer(answers, self.answers)
            if winner is None:
                continue
            shares.append(sum(agreed) / size)
            labels.append(is_right(winner, gold[start], self.answers))
        measured["accuracy"] = [float(value) for value in graded if value is not None]
        measured["majority_share"] = shares
        measured["label_accuracy"] = [float(value) for value in labels if value is not None]
        return measured

    def _kl(self, prompts: Texts, completion_ids: TokenIds) -> list[float]:
        prompt_ids = chat.prompts_ids(self.start.tokenizer, prompts)
        policy_scores = self._policy.score(prompts, completion_ids)
        start_scores = self._start_scorer.score(prompt_ids, completion_ids)
        return [
            float((policy.log_likelihoods - start.log_likelihoods).sum())
            for policy, start in zip(policy_scores, start_scores, strict=True)
            if policy.reason is None and start.reason is None
        ]

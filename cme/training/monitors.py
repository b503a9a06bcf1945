"""What every run measures but does not train on.

One callable beside the trained reward. It returns None for every completion, because a number, even at
weight 0, would make TRL count a completion as scored that the trained reward could not score; what it
measures goes through TRL's `log_metric`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from transformers import Trainer

from cme.checkpoints import Checkpoint
from cme.grading.answers import (
    AnswerKind,
    are_equivalent,
    canonical_answer,
    extract_answer,
    has_final_answer,
    is_correct,
    normalize_text,
)
from cme.models import chat
from cme.rewards import groups
from cme.runtime import distributed
from cme.scoring.policy import gathered_weights
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier


def repetition(text: str) -> float:
    """Share of a text's word bigrams that repeat an earlier one, in [0, 1]; 0 for fewer than two words."""
    words = normalize_text(text).split()
    bigrams = list(pairwise(words))
    return 1 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0


class Monitors:
    """Logs, per step: `repetition`; `kl_from_start` of the policy from its start (also at beta 0); with an oracle,
    `quality`; with a held-out verifier, `heldout`; on data of a mathematics track
    (`cme.grading.answers.has_final_answer`)
    `accuracy`,
    `majority_share` and `label_accuracy`.

    `kl_from_start` is the mean over completions of sum_t [log p_policy(y_t) - log p_start(y_t)], nats a response: an
    unbiased estimate of the sequence KL where completions are drawn from the policy as it is (temperature 1,
    top-p 1, repetition penalty 1). TRL logs another estimate, a token, as `kl` where beta > 0. `kl_from_start` and
    `heldout` cost forward passes and are measured every `every` steps and at the last planned one. `accuracy` is the
    share of right completions among those with a gold answer, `majority_share` the share of its group that gives a
    group's most common answer, `label_accuracy` the share of these answers that are right, whatever the reward: how
    good a label the majority would be. The latter two are measured where completions make whole groups, over the groups
    with any answer; comparisons that are undecided are left out. Of several processes, what is read off the text is
    measured by the main one on the completions of all, and what costs forward passes by each on its own.
    """

    __name__ = "monitors"

    def __init__(
        self,
        start: Checkpoint,
        heldout: Verifier | None,
        oracle: Callable[[str, str, bool], float] | None,
        every: int = 1,
        answers: AnswerKind = "none",
    ) -> None:
        self.start = start
        self.heldout = heldout
        self.oracle = oracle
        self.every = every
        self.answers = answers
        self._trainer: Trainer | None = None
        self._scorers: tuple[TokenScorer, TokenScorer] | None = None

    def bind(self, trainer: Trainer) -> None:
        """Learn from the trainer which policy is being trained."""
        self._trainer, self._scorers = trainer, None

    def due(self, step: int, last: int) -> bool:
        """Whether what costs forward passes is measured after so many steps, of `last` planned ones."""
        return step % self.every == 0 or step + 1 >= last

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None],
        answer: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Measure B completions; every one of them gets None."""
        assert self._trainer is not None, "monitors need bind(trainer)"
        texts = [chat.to_text(c) for c in completions]
        finished = chat.finished_flags(completion_ids, self._trainer.processing_class.eos_token_id)
        everyones = distributed.gather_rows
        asked, said, ended = everyones(prompts), everyones(texts), everyones(finished)
        gold = None if answer is None else everyones(answer)
        found = self._read_off(asked, said, ended, gold) if distributed.process_index() == 0 else {}
        if self.due(self._trainer.state.global_step, self._trainer.state.max_steps):
            found["kl_from_start"] = distributed.gather_rows(self._kl(prompts, completion_ids))
            if self.heldout is not None:
                means = [s.mean for s in self.heldout.score(prompts, texts, finished) if s.mean is not None]
                found["heldout"] = distributed.gather_rows(means)
        for name, values in found.items():
            if values:
                log_metric(name, sum(values) / len(values))
        return [None] * len(prompts)

    def _read_off(
        self,
        prompts: Sequence[chat.Text],
        texts: Sequence[str],
        finished: Sequence[bool],
        answer: Sequence[str | None] | None,
    ) -> dict[str, list[float]]:
        """What is known of the completions without a model."""
        found = {"repetition": [repetition(text) for text in texts]}
        if self.oracle is not None:
            asked = [chat.to_text(p) for p in prompts]
            found["quality"] = [self.oracle(p, t, f) for p, t, f in zip(asked, texts, finished, strict=True)]
        if answer is not None and has_final_answer(self.answers):
            found |= self._answered(texts, answer, getattr(self._trainer, "num_generations", 1))
        return found

    def _answered(
        self, texts: Sequence[str], gold: Sequence[str | None], size: int
    ) -> dict[str, list[float]]:
        """What is known of the answers: of each completion, and of each group of `size`."""
        graded = [is_correct(text, right, self.answers) for text, right in zip(texts, gold, strict=True)]
        shares, labels = [], []
        for start in range(0, len(texts) if len(texts) % size == 0 else 0, size):
            given = [extract_answer(text, self.answers) for text in texts[start : start + size]]
            winner, agreed = groups.majority_answer(given, self.answers)
            if winner is None:
                continue
            shares.append(sum(agreed) / size)
            right = gold[start]
            if right is not None:
                labels.append(are_equivalent(canonical_answer(right, self.answers), winner, self.answers))
        return {
            "accuracy": [float(value) for value in graded if value is not None],
            "majority_share": shares,
            "label_accuracy": [float(value) for value in labels if value is not None],
        }

    def _kl(self, prompts: Sequence[chat.Text], completion_ids: Sequence[Sequence[int]]) -> list[float]:
        assert self._trainer is not None
        heads = [chat.prompt_ids(self.start.tokenizer, p) for p in prompts]
        if self._scorers is None:  # on the first call: at bind time the model is not wrapped yet
            policy = self._trainer.accelerator.unwrap_model(self._trainer.model)
            self._scorers = TokenScorer(policy), TokenScorer(self.start.model)
        with gathered_weights(self._trainer):
            ours, theirs = (scorer.score(heads, completion_ids) for scorer in self._scorers)
        return [
            float((a.log_likelihoods - b.log_likelihoods).sum()) for a, b in zip(ours, theirs, strict=True)
        ]

"""The current policy's likelihood of the gold answer behind its own reasoning. Uses labels, but grades no answer.

    r(x, y) = log p(a | x, z) = sum_t log p(a_t | x, z, a_<t)          nats, JEPO (arXiv 2503.19618)
    r(x, y) = p(a | x, z)                          value=probability, VeriFree (arXiv 2505.21493)
    r(x, y) = 1/T sum_t p(a_t | x, z, a_<t)        value=mean_probability, RLPR (arXiv 2506.18254)

p is the current policy at temperature 1, a_1..T the gold answer in its tokens, and z the policy's reasoning: the text
of y in front of its answer (`cme.grading.answers`), or all of y without an answer. Kwiatkowski et al. (arXiv
2602.03979) compare the three, and find that only the logarithm does well in all their settings.

z and a are tokenized together, so that their boundary is where the policy would put it; a token that spans both belongs
to a. What a response has behind its answer does not count.

Deviations: JEPO and VeriFree also raise p(a | x, z) itself, by a gradient of the answer's tokens; a reward moves only
what was sampled. RLPR subtracts the reward without reasoning and clips the difference to [0, 1]: the subtraction alone
changes no advantage, and the clipping is left out, as is RLPR's filter of groups with little variance. So is JEPO's
bound over several samples. VeriFree lets the policy stop in front of its answer; here the answer is cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cme.grading.answers import AnswerKind, answer_span, gold_answer, has_final_answer
from cme.models import chat
from cme.rewards.base import PlainReward, Texts, TokenIds

Value = Literal["log_probability", "probability", "mean_probability"]


@dataclass(eq=False, repr=False)
class ReferenceLikelihood(PlainReward):
    """The policy's log-probability, in nats, of the gold answer behind each response's reasoning, or a variant of it.

    Args:
        answers: what part of a response is its answer: `number` or `boxed`. Raises ValueError for another.
        value: `log_probability`, `probability`, or `mean_probability` over the answer's tokens.
    """

    __name__ = "reference_likelihood"
    needs_answers = True

    answers: AnswerKind
    value: Value = "log_probability"

    def __post_init__(self) -> None:
        if not has_final_answer(self.answers):
            raise ValueError(
                f"answers={self.answers} leaves no reasoning in front of an answer; use data with answers=number or "
                "boxed, such as data=arithmetic"
            )
        if self.value not in get_args(Value):
            raise ValueError(f"value={self.value}; it must be one of {', '.join(get_args(Value))}")

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        answer: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions under the current policy; None without a gold answer that can be read.

        Raises RuntimeError before `bind`, ValueError for data without the column `answer`.
        """
        if answer is None:
            raise ValueError("the likelihood of the reference needs a column `answer` in the data")
        golds = {i: gold_answer(gold, self.answers) for i, gold in enumerate(answer)}
        known = {i: gold for i, gold in golds.items() if gold is not None}
        rows = [self._tokens(chat.to_text(completions[i]), gold) for i, gold in known.items()]
        scores = self.score_policy([prompts[i] for i in known], [ids for ids, _ in rows])
        rewards: list[float | None] = [None] * len(completions)
        for i, (_, length), score in zip(known, rows, scores, strict=True):
            values = score.log_likelihoods[-length:].double()
            if not values.isfinite().all():
                continue
            if self.value == "mean_probability":
                rewards[i] = float(values.exp().mean())
            else:
                rewards[i] = float(values.sum().exp() if self.value == "probability" else values.sum())
        return rewards

    def _tokens(self, text: str, gold: str) -> tuple[list[int], int]:
        """The policy's tokens of a response's reasoning and the gold answer, and how many are the answer's."""
        from cme.scoring import alignment

        span = answer_span(text, self.answers)
        reasoning = f"{text.rstrip()} ".lstrip() if span is None else text[: span[0]]
        ids, ends = alignment.text_ends(self.policy_tokenizer, reasoning + gold)
        return ids, int((ends > len(reasoning.encode())).sum())

"""The current policy's likelihood of the gold answer behind its own reasoning. Uses labels, but grades no answer.

    r(x, y) = log p(a | x, z) = sum_t log p(a_t | x, z, a_<t)          nats, JEPO (arXiv 2503.19618)
    r(x, y) = p(a | x, z)                          value=probability, VeriFree (arXiv 2505.21493)
    r(x, y) = 1/T sum_t p(a_t | x, z, a_<t)        value=mean_probability, RLPR (arXiv 2506.18254)

p is the current policy at temperature 1, a_1..T the gold answer in its tokens, and z the policy's reasoning: the text
of y in front of its answer (`cme.grading.answers`). So good reasoning is what makes the right answer likely, whichever
answer the policy then wrote. A response without an answer is reasoning from beginning to end. Kwiatkowski et al.
(arXiv 2602.03979) compare the three, and find that only the logarithm does well in all their settings.

z and a are tokenized together, so that their boundary is where the policy would put it; a token that spans both belongs
to a. What a response has behind its answer does not count.

Deviations: JEPO and VeriFree also raise p(a | x, z) itself, by a gradient of the answer's tokens; a reward moves only
what was sampled. RLPR subtracts the reward without reasoning and clips the difference to [0, 1]: the subtraction alone
changes no advantage, and the clipping is left out, as is RLPR's filter of groups with little variance. So is JEPO's
bound over several samples. VeriFree lets the policy stop in front of its answer; here the answer is cut off.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from cme.grading.answers import AnswerKind, answer_span, gold_answer, has_final_answer
from cme.models import chat
from cme.rewards.base import Reward, Texts, TokenIds

if TYPE_CHECKING:
    import torch

Value = Literal["log_probability", "probability", "mean_probability"]


class ReferenceLikelihood(Reward):
    """The policy's log-probability, in nats, of the gold answer behind each response's reasoning, or a variant of it.

    Args:
        answers: what part of a response is its answer: `number` or `boxed`.
        value: `log_probability`, `probability`, or `mean_probability` over the answer's tokens.

    Raises ValueError for data whose answer is not a part of the response, and for an unknown `value`.
    """

    __name__ = "reference_likelihood"
    needs_answers = True

    def __init__(self, answers: AnswerKind, value: Value = "log_probability") -> None:
        self.check(answers, value)
        self.answers, self.value = answers, value

    @classmethod
    def check(cls, answers: str = "none", value: str = "log_probability", **settings: Any) -> None:
        """Raise ValueError for data whose answer is not a part of the response, and for an unknown `value`."""
        if not has_final_answer(answers):
            raise ValueError(
                f"answers={answers} leaves no reasoning in front of an answer; use data with answers=number or boxed, "
                "such as data=arithmetic"
            )
        if value not in get_args(Value):
            raise ValueError(f"value={value}; it must be one of {', '.join(get_args(Value))}")

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
        golds = [gold_answer(gold, self.answers) for gold in answer]
        known = [i for i, gold in enumerate(golds) if gold is not None]
        texts = [(self._reasoning(chat.to_text(completions[i])), str(golds[i])) for i in known]
        rows = [self._tokens(*text) for text in texts]
        scores = self.score_policy([prompts[i] for i in known], [ids for ids, _ in rows])
        rewards: list[float | None] = [None] * len(completions)
        for i, (_, length), score in zip(known, rows, scores, strict=True):
            values = score.log_likelihoods[-length:].double()
            rewards[i] = self._pool(values) if values.isfinite().all() else None
        return rewards

    def _reasoning(self, text: str) -> str:
        """The text in front of the answer; without an answer, all of it and a space."""
        span = answer_span(text, self.answers)
        if span is not None:
            return text[: span[0]]
        return f"{text.rstrip()} ".lstrip()

    def _tokens(self, reasoning: str, gold: str) -> tuple[list[int], int]:
        """The policy's tokens of both, and how many of them are the answer's."""
        from cme.scoring import alignment

        ids, ends = alignment.text_ends(self.policy_tokenizer, reasoning + gold)
        return ids, int((ends > len(reasoning.encode())).sum())

    def _pool(self, log_probabilities: "torch.Tensor") -> float:
        """The reward from the log-probabilities (T,) of the answer's tokens."""
        if self.value == "mean_probability":
            return float(log_probabilities.exp().mean())
        total = log_probabilities.sum()
        return float(total.exp() if self.value == "probability" else total)

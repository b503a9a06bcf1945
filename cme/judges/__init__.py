"""Judges: which of two responses is better. One file each.

A judge has `rule(prompt, first, second) -> Ruling` and never sees which response is whose. `cme.judges.pairwise` asks
it in both orders. A ruling that could not be made is `unscored` with its reason.
"""

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar, get_args

from cme.records import Generation, Outcome, Prompt


@dataclass(frozen=True)
class JudgeVerdict:
    """One comparison: the outcome, why it is unscored if it is, and the judge's scores of both if any.

    `note` is what the judge said for itself. `calls` and `usd` are what the ruling took, failed attempts included:
    requests to a server, and at most so much money (None where prices are unknown).
    """

    outcome: Outcome
    reason: str | None = None
    scores: tuple[float, float] | None = None
    note: str | None = None
    calls: int = 0
    usd: float | None = 0.0

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise ValueError(f"outcome is {self.outcome!r}; it must be one of {', '.join(get_args(Outcome))}")
        if (self.outcome == "unscored") != (self.reason is not None):
            raise ValueError(f"a reason goes with unscored and nothing else; outcome is {self.outcome!r}")


Text = TypeVar("Text", str, str | None)


def replace_surrogates(text: Text) -> Text:
    """The text with `?` for what no UTF-8 has: the half of a surrogate pair that JSON lets through."""
    return text if text is None else text.encode("utf-8", "replace").decode()


class Judge(Protocol):
    """What every judge can do.

    A judge may also have: `concurrency`, how many rulings it makes at once, in threads (1 without it);
    `max_response_chars`, where it cuts a response; `resume(calls, usd)`, told before the first ruling what the log
    says was spent so far, in all; `stop()`, after which it makes no more attempts; `probe()`, one
    trial before a run begins;
    `tokens(prompt, first, second)` and `usd(tokens_in, tokens_out)`, by which a run's judging is priced;
    `fingerprint(**settings)`, static, a digest of what decides its rulings and is not in its
    settings: the template around the texts, the contents of files that are named;
    `unread(texts)`, static, how many texts it would not read to their end, where that is no setting.
    """

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses to a prompt."""


def verdict_from_scores(first: float, second: float, margin: float) -> JudgeVerdict:
    """The ruling of a judge that scores each response: a tie within `margin`, unscored if not finite."""
    gap = first - second
    if not math.isfinite(gap):
        return JudgeVerdict("unscored", f"the judge's scores are {first} and {second}")
    outcome: Outcome = "tie" if abs(gap) <= margin else "first" if gap > 0 else "second"
    return JudgeVerdict(outcome, scores=(round(first, 6), round(second, 6)))

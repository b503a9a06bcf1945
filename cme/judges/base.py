"""The base class of all judges, and the verdict that a judge gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from cme.records import Generation, Outcome, Prompt, Scores, check_outcome


@dataclass(frozen=True)
class JudgeVerdict:
    """A judge's verdict on two responses in one order.

    Attributes:
        outcome: `first`, `second`, `tie` or `unscored`.
        reason: why there is no verdict; set if and only if the outcome is `unscored`.
        scores: the judge's scores of the first and the second response, if it gives any.
        note: the judge's own explanation, if it gives one.
        calls: requests sent to a server, failed ones included.
        usd: upper bound on their cost in US dollars; None if prices are unknown.
    """

    outcome: Outcome
    reason: str | None = None
    scores: Scores | None = None
    note: str | None = None
    calls: int = 0
    usd: float | None = 0.0

    def __post_init__(self) -> None:
        check_outcome(self.outcome, self.reason)


class Judge:
    """Compares two responses to a prompt, without knowing which model wrote them.

    `cme.judges.pairwise` shows a judge both orders. A subclass implements `compare` and overrides the hooks it needs.

    Attributes:
        NEUTRAL: arguments of the constructor that do not change verdicts, such as prices or time limits. A run's
            identity omits them.
        NEUTRAL_VALUES: values at which later arguments change nothing. A run's identity omits them too.
        asks_server: whether each verdict takes requests to a server. Such a judge is probed before a run.
        concurrency: the number of comparisons made at the same time, each in its own thread.
        combines_orders: whether a pair gets one verdict from both orders (`combine`), not one in each order.
        calls_per_comparison: requests that a comparison takes, where `asks_server`.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset()
    NEUTRAL_VALUES: ClassVar[dict[str, Any]] = {}
    asks_server: ClassVar[bool] = False
    combines_orders: ClassVar[bool] = False
    calls_per_comparison: ClassVar[int] = 1
    concurrency: int = 1

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses to a prompt, shown in this order.

        Raises Unavailable if the judge cannot be used at all.
        """
        raise NotImplementedError

    def combine(self, shown: JudgeVerdict, swapped: JudgeVerdict) -> JudgeVerdict:
        """One verdict on a pair from its scored verdicts in both orders, as if in the order `shown`."""
        raise NotImplementedError

    @staticmethod
    def check(*args: Any, **settings: Any) -> None:
        """Raise ValueError for arguments of the constructor that cannot work. Loads nothing.

        Raises Unavailable if a package that the judge needs is not installed.
        """

    @staticmethod
    def missing(prompt: Prompt, *responses: Generation) -> str | None:
        """What a prompt, or a response to it, lacks for a verdict, such as a reference answer; None if nothing."""
        return None

    @staticmethod
    def fingerprint(*args: Any, **settings: Any) -> str:
        """Digest of what decides the verdicts besides the arguments, such as the prompt's fixed parts or files."""
        return ""

    @staticmethod
    def count_unread(texts: Sequence[str]) -> int:
        """The number of texts that the judge truncates for other reasons than `max_response_chars`."""
        return 0

    def probe(self) -> None:
        """Try the judge once before a run. Raises Unavailable if it gives no verdict."""

    def resume(self, calls: int, usd: float) -> None:
        """Count the calls and US dollars that earlier runs have spent on the same verdict log."""

    def stop(self) -> None:
        """Send no further requests."""

    def estimate_tokens(
        self, prompt: Prompt, first: Generation, second: Generation
    ) -> tuple[int, int] | None:
        """Estimated tokens sent for a comparison, and tokens of the longest reply; None if unknown."""
        return None

    def price(self, tokens_in: int, tokens_out: int) -> float | None:
        """Cost in US dollars of tokens sent and received; None if prices are unknown."""
        return None


def verdict_from_scores(first: float, second: float, margin: float) -> JudgeVerdict:
    """The verdict of a judge that scores each response: a tie if the scores differ by at most `margin`.

    It is unscored if the difference is not finite.
    """
    gap = first - second
    if not math.isfinite(gap):
        return JudgeVerdict("unscored", f"the judge's scores are {first} and {second}")
    outcome: Outcome = "tie" if abs(gap) <= margin else "first" if gap > 0 else "second"
    return JudgeVerdict(outcome, scores=(round(first, 6), round(second, 6)))


Text = TypeVar("Text", str, str | None)


def replace_surrogates(text: Text) -> Text:
    """The text with `?` in place of lone surrogates, which JSON allows but UTF-8 cannot encode."""
    return text if text is None else text.encode("utf-8", "replace").decode()

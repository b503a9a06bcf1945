"""Prompts, responses and their grades, pairs of responses, and judges' verdicts on them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from cme.records.codec import Cost, Count, Number, Settings, Strict

CUT_START = "cut start"
"""Name of the comparison with the untrained model's own responses, cut short. It shows what ending earlier wins."""

Outcome = Literal["first", "second", "tie", "unscored"]
Scores = tuple[Number, Number]
"""A judge's scores of the response shown first and of the one shown second."""


def check_outcome(outcome: Outcome, reason: str | None) -> None:
    """Raise ValueError for an unknown outcome, for `unscored` without a reason, and for any other with a reason."""
    if outcome not in get_args(Outcome):
        raise ValueError(f"outcome is {outcome!r}; it must be one of {', '.join(get_args(Outcome))}")
    if (outcome == "unscored") != (reason is not None):
        raise ValueError(
            f"outcome is {outcome!r} and reason is {reason!r}; "
            "an unscored verdict needs a reason, and no other has one"
        )


@dataclass(frozen=True)
class Prompt(Strict):
    """One prompt of a data set.

    Attributes:
        answer: The gold answer, if there is one.
        reference: One good response, if there is one.
    """

    id: str
    text: str
    answer: str | None = None
    reference: str | None = None

    @property
    def conversation(self) -> list[dict[str, str]]:
        """The messages that a model gets: one user message."""
        return [{"role": "user", "content": self.text}]


@dataclass(frozen=True)
class Conversation(Prompt):
    """A prompt of several messages, the last one from the user.

    Attributes:
        text: Their transcript, which judges read and records show.
        messages: Objects with `role` (system, user or assistant) and `content`.
    """

    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def conversation(self) -> list[dict[str, str]]:
        """The messages that a model gets."""
        return self.messages

    @staticmethod
    def from_messages(
        key: str, messages: list[dict[str, str]], answer: str | None = None, reference: str | None = None
    ) -> Prompt:
        """The prompt of messages, which is a conversation if there are several."""
        if len(messages) == 1:
            return Prompt(key, messages[0]["content"], answer, reference)
        transcript = "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
        return Conversation(key, transcript, answer, reference, messages)


@dataclass(frozen=True)
class Preference(Strict):
    """A prompt with two complete responses, the better one in `chosen`."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Generation(Strict):
    """One response of a model.

    Attributes:
        finished: Whether the model ended the response itself; None if unknown, as for imported outputs.
        tokens: Length in the model's own tokens; None if unknown.
        surprisal: Negative mean log-likelihood under an independent language model, in nats per token of that model;
            None if not measured.
    """

    response: str
    finished: bool | None
    tokens: Count | None
    surprisal: Number | None = None


@dataclass(frozen=True)
class Grade(Strict):
    """The truth about one response.

    Attributes:
        quality: From 0 to 1.
        fault: The response's main fault; `none` if it has none.
        parts: For each part that the prompt asks for, whether the response has it right. A part that is a fact is
            named `animal attribute`, such as `fox color`.

    Raises ValueError for a quality outside of [0, 1].
    """

    quality: float
    fault: str
    parts: dict[str, bool]

    def __post_init__(self) -> None:
        if not 0.0 <= self.quality <= 1.0:
            raise ValueError(f"quality is {self.quality}; it must be from 0 to 1")

    @property
    def facts(self) -> dict[str, bool]:
        """The parts that are facts, such as `fox color`, and not `step 1` or `member 1 of places`."""
        words = {part: part.split() for part in self.parts}
        return {p: self.parts[p] for p, w in words.items() if len(w) == 2 and not w[1].isdigit()}


Oracle = Callable[[str, str, bool], Grade]
"""The grade of a response, given the prompt, the response, and whether the response ended by itself."""


@dataclass(frozen=True)
class Grades(Strict):
    """The grades of responses to the evaluation prompts, in the order of the record's pairs.

    Attributes:
        cut_start: Those of the untrained model's responses, each cut at its first sentence end.
        selected: Those of the selected checkpoint's responses; None if the record has none.
    """

    start: list[Grade]
    policy: list[Grade]
    cut_start: list[Grade]
    selected: list[Grade] | None = None


@dataclass(frozen=True)
class Verdict(Strict):
    """A judge's verdict on one pair in one order, or on one pair from both orders together.

    Attributes:
        policy_first: Whether the trained policy's response was shown first; True for a verdict from both orders, whose
            outcome and scores are as if it was.
        outcome: Which of the two shown responses is better.
        reason: Why the verdict is unscored; set if and only if the outcome is `unscored`.
        scores: The judge's scores of (first, second), if it gives any.
        note: The judge's own explanation, if it gives one.
        judge: The member of a panel; None for a single judge.
        orders: Of a verdict from both orders, the scores that each order gave alone, that with the policy's response
            first before the other; None for an order without any. None for a verdict from one order.
    """

    prompt_id: str
    policy_first: bool
    outcome: Outcome
    reason: str | None = None
    scores: Scores | None = None
    note: str | None = None
    judge: str | None = None
    orders: tuple[Scores | None, Scores | None] | None = None

    def __post_init__(self) -> None:
        check_outcome(self.outcome, self.reason)


@dataclass(frozen=True)
class Pair(Strict):
    """One evaluation prompt with the responses of the untrained model (`start`) and of the trained policy.

    Attributes:
        answer: The gold answer of a mathematics prompt; None for other prompts.
        messages: The messages of a prompt that is a conversation, whose transcript is `prompt`; None for others.
    """

    prompt_id: str
    prompt: str
    reference: str | None
    start: Generation
    policy: Generation
    answer: str | None = None
    messages: list[dict[str, str]] | None = None


@dataclass(frozen=True)
class Comparison(Strict):
    """The policy, and the untrained model, compared with a further model on the evaluation prompts.

    The further model of the comparison `CUT_START` is the untrained model, with its responses cut short.

    Attributes:
        responses: The further model's responses, in the order of the record's pairs.
        policy: The judge's verdicts on the policy against the further model.
        start: The judge's verdicts on the untrained model against the further model. Here the untrained model takes
            the policy's place: `policy_first` says that it was shown first, and the points are its points.
    """

    name: str
    checkpoint: str
    responses: list[Generation]
    policy: list[Verdict]
    start: list[Verdict] | None = None


def distinct_prompt_ids(pairs: Sequence[Pair]) -> set[str]:
    """The prompt ids of pairs. Raises ValueError if two pairs have the same."""
    ids = Counter(pair.prompt_id for pair in pairs)
    if twice := [prompt_id for prompt_id, count in ids.items() if count > 1]:
        raise ValueError(f"several pairs have the prompt_id {twice[0]!r}; each pair needs its own")
    return set(ids)


@dataclass(frozen=True)
class FurtherJudge(Strict):
    """The verdicts of another judge on a record's pairs, beside those of its own judge.

    Attributes:
        name: The judge's name, which no other judge of the record has.
        settings: The settings that change its verdicts, by dotted path such as `judge.checkpoint`.
        verdicts: In the form of the record's own: with the member's name for a panel, without a name for another judge.
        seconds: Wall-clock seconds of judging.
    """

    name: str
    settings: Settings
    verdicts: list[Verdict]
    seconds: Number


@dataclass(frozen=True)
class Spending(Strict):
    """Calls to a judge's server, and US dollars for them; None if prices are unknown."""

    calls: Count
    usd: Cost | None

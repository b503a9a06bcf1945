"""A judge behind a server on loopback, which prefers the longer response."""

from collections.abc import Sequence
from typing import Any

from chat_stub import ChatStub, winner

from cme.records import Pair, Verdict

KEY = "sk-very-secret-8431"
OUTCOMES: dict[str, Any] = {"A": "first", "B": "second", "tie": "tie"}


def settings(stub: ChatStub, *more: str, field: str = "judge") -> list[str]:
    """Overrides of a run that is judged by length; `field` is the judge's, such as `selection.judge`."""
    group = field if field == "judge" else f"judge@{field}"
    return [f"{group}=openai", *server(stub, field), *more]


def server(stub: ChatStub, field: str) -> list[str]:
    """Overrides that name the server."""
    return [f"{field}.model=stub", f"{field}.base_url={stub.url}", f"{field}.api_key_variable=JUDGE_KEY"]


def outcome(first: str, second: str) -> Any:
    """The outcome for two responses, in the order shown."""
    return OUTCOMES[winner(first, second)]


def verdicts(pairs: Sequence[Pair], name: str | None = None) -> list[Verdict]:
    """The verdicts on pairs, in both orders."""
    found = []
    for pair in pairs:
        for policy_first in (True, False):
            shown = (pair.policy.response, pair.start.response)[:: 1 if policy_first else -1]
            note = f"{len(shown[0])} against {len(shown[1])}"
            found.append(Verdict(pair.prompt_id, policy_first, outcome(*shown), note=note, judge=name))
    return found


def questions(pairs: Sequence[Pair]) -> int:
    """How many distinct questions pairs make in both orders."""
    texts = [(p.prompt, p.policy.response, p.start.response) for p in pairs]
    return len({*texts, *((a, c, b) for a, b, c in texts)})


def unscored(pairs: Sequence[Pair], given: Sequence[Verdict]) -> int:
    """How many distinct questions that pairs make in both orders have an unscored verdict."""
    shown = [(p.prompt, *(p.policy.response, p.start.response)[::step]) for p in pairs for step in (1, -1)]
    return len({q for q, v in zip(shown, given, strict=True) if v.outcome == "unscored"})

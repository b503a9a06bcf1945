"""All pairs of responses with their verdicts, packed for the report's pair browser: JSON, deflated, in base64.

Base64 contains no special character of HTML. Each distinct text is stored once, since the start's responses are the
same in many runs.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

from analysis.records.builds import seed_names
from analysis.records.grouping import group_by
from analysis.records.names import judge_label, method_names, place_names
from cme.records import Pair, RunRecord, Verdict, points, scores

PAIR = (
    *("run", "id", "prompt", "reference", "start", "policy", "start_tokens", "policy_tokens"),
    *("start_finished", "policy_finished", "start_surprisal", "policy_surprisal", "verdicts"),
)
VERDICT = ("judge", "policy_first", "points", "start_score", "policy_score", "reason", "note")
DECIMALS = 4
Number = Callable[[str | None], int | None]
"""The number of a text in the list of distinct texts, None for None."""


def pack_pairs(records: Sequence[RunRecord]) -> str:
    """The records' pairs as embedded in the report; unpack by base64, zlib and JSON."""
    text = json.dumps(pairs_of(records), allow_nan=False, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode())).decode()


def pairs_of(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Texts, runs, and columns of pairs and of verdicts; the columns refer to texts by number.

    `pairs["verdicts"]` counts the verdicts of each pair; the verdicts are in the order of the pairs. `points` are the
    policy's, None if unscored.
    """
    methods, texts = method_names(records), dict[str, int]()

    def number(text: str | None) -> int | None:
        return None if text is None else texts.setdefault(text, len(texts))

    pairs: list[list[Any]] = []
    verdicts: list[list[Any]] = []
    for run, record in enumerate(records):
        by_prompt = group_by(record.judgements(), lambda judgement: judgement[1].prompt_id)
        for pair in record.pairs:
            of_pair = by_prompt.get(pair.prompt_id, [])
            pairs.append([run, *pair_row(pair, number), len(of_pair)])
            verdicts += [verdict_row(verdict, judge, number) for judge, verdict in of_pair]
    runs = []
    for record in records:
        family, regime = place_names(record.scale, record.family, record.regime)
        place = {"scale": record.scale, "family": family, "regime": regime, "method": methods[record.run_id]}
        sides = (record.regime, methods[record.run_id])  # of imported outputs, their labels
        if record.scale != "imported":
            sides = ("untrained model", "trained")
        seed = seed_names([record.seed])
        runs.append({"id": record.run_id, **place, "seed": seed, "sides": sides})
    return {
        "texts": list(texts),
        "runs": runs,
        "pairs": named_columns(PAIR, pairs),
        "verdicts": named_columns(VERDICT, verdicts),
    }


def pair_row(pair: Pair, number: Number) -> list[Any]:
    """One pair, in the order of `PAIR` between its run and its number of verdicts."""
    start, policy = pair.start, pair.policy
    return [
        *map(number, (pair.prompt_id, pair.prompt, pair.reference, start.response, policy.response)),
        *(start.tokens, policy.tokens, start.finished, policy.finished),
        *map(round_number, (start.surprisal, policy.surprisal)),
    ]


def verdict_row(verdict: Verdict, judge: str, number: Number) -> list[Any]:
    """One verdict of a judge, of a panel's member or of its majority, in the order of `VERDICT`."""
    won = points(verdict)
    return [
        number(judge_label(verdict.judge or judge)),
        int(verdict.policy_first),
        None if isnan(won) else won,
        *(map(round_number, scores(verdict)) if verdict.scores else (None, None)),
        number(verdict.reason),
        number(order_note(verdict) if verdict.note is None else verdict.note),
    ]


def order_note(verdict: Verdict) -> str | None:
    """The scores of each order, of a verdict that combines both; None for any other."""
    if verdict.orders is None:
        return None
    shown = zip(("policy", "start"), verdict.orders, strict=True)
    each = [f"{first} first {'unscored' if s is None else f'{s[0]:.4f} : {s[1]:.4f}'}" for first, s in shown]
    return f"Both orders together; each alone, with the {', with the '.join(each)}"


def round_number(value: float | None) -> float | None:
    """A number rounded to the decimals of the report."""
    return None if value is None else round(value, DECIMALS)


def named_columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Rows as columns by name."""
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}

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
from cme.records import RunRecord, Verdict, points, scores

PAIR = (
    *("run", "id", "prompt", "reference", "start", "policy", "start_tokens", "policy_tokens"),
    *("start_finished", "policy_finished", "start_surprisal", "policy_surprisal", "verdicts"),
)
VERDICT = ("judge", "policy_first", "points", "start_score", "policy_score", "reason", "note")
DECIMALS = 4


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
        """The number of a text in the list of distinct texts, None for None."""
        return None if text is None else texts.setdefault(text, len(texts))

    runs: list[dict[str, Any]] = []
    pairs: list[list[Any]] = []
    verdicts: list[list[Any]] = []
    for record in records:
        by_prompt = group_by(record.judgements(), lambda judgement: judgement[1].prompt_id)
        for pair in record.pairs:
            start, policy, judged = pair.start, pair.policy, by_prompt.get(pair.prompt_id, [])
            pairs.append(
                [
                    len(runs),
                    *map(
                        number, (pair.prompt_id, pair.prompt, pair.reference, start.response, policy.response)
                    ),
                    *(start.tokens, policy.tokens, start.finished, policy.finished),
                    *map(round_number, (start.surprisal, policy.surprisal)),
                    len(judged),
                ]
            )
            verdicts += [verdict_row(verdict, judge, number) for judge, verdict in judged]
        family, regime = place_names(record.scale, record.family, record.regime)
        method = methods[record.run_id]
        # of imported outputs, the two sides have labels
        sides = (record.regime, method) if record.scale == "imported" else ("untrained model", "trained")
        place = {"scale": record.scale, "family": family, "regime": regime, "method": method}
        runs.append({"id": record.run_id, **place, "seed": seed_names([record.seed]), "sides": sides})
    return {
        "texts": list(texts),
        "runs": runs,
        "pairs": {name: [row[index] for row in pairs] for index, name in enumerate(PAIR)},
        "verdicts": {name: [row[index] for row in verdicts] for index, name in enumerate(VERDICT)},
    }


def verdict_row(verdict: Verdict, judge: str, number: Callable[[str | None], int | None]) -> list[Any]:
    """One verdict of a judge, of a panel's member or of its majority, in the order of `VERDICT`."""
    won, note = points(verdict), verdict.note
    if note is None and verdict.orders is not None:  # it combines both orders
        each = [
            f"{first} first {'unscored' if s is None else f'{s[0]:.4f} : {s[1]:.4f}'}"
            for first, s in zip(("policy", "start"), verdict.orders, strict=True)
        ]
        note = f"Both orders together; each alone, with the {', with the '.join(each)}"
    return [
        number(judge_label(verdict.judge or judge)),
        int(verdict.policy_first),
        None if isnan(won) else won,
        *(map(round_number, scores(verdict)) if verdict.scores else (None, None)),
        number(verdict.reason),
        number(note),
    ]


def round_number(value: float | None) -> float | None:
    """A number rounded to the decimals of the report."""
    return None if value is None else round(value, DECIMALS)

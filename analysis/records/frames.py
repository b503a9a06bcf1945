"""Data frames of runs: one row per verdict, and one row per training step."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import pandas as pd

from analysis.records.names import method_names
from cme.records import (
    RunRecord,
    Verdict,
    majority_verdicts,
    points,
    scores,
    verdicts_by_order,
)

IDENTITY = ("run_id", "scale", "family", "regime", "reward", "verifier", "judge", "seed")
RUN_FIELDS = attrgetter(*IDENTITY)
HISTORY = (
    *("step", "reward_value", "reward_std", "quality", "heldout", "length", "clipped", "repetition", "entropy", "kl"),
    *("unscored", "loss", "grad_norm", "accuracy", "majority_share", "label_accuracy"),
)  # fmt: skip
WINDOW = (
    5  # steps whose mean stands for the start or the end of a training, and of the running mean in figures
)
VERDICT = ("panel", "prompt_id", "policy_first", "outcome", "points", "score_start", "score_policy")


def judge_name(judge: str, verdict: Verdict) -> str:
    """The name of a verdict's judge: `judge` itself or, for a member of this panel, `panel: member`."""
    return judge if verdict.judge is None else f"{judge}: {verdict.judge}"


def judgements(record: RunRecord, by_order: bool = False) -> list[tuple[str, Verdict]]:
    """Every verdict on a record's pairs with the name of its judge, such as `panel` or a further judge's.

    The verdicts of a panel's majority follow those of its members. `by_order` splits a verdict from both orders into
    what each order alone says.
    """
    judges = [(record.judge, record.verdicts)]
    judges += [(further.name, further.verdicts) for further in record.further_judges or []]
    return [
        (judge, verdict)
        for judge, given in judges
        for verdict in [*(verdicts_by_order(given) if by_order else given), *majority_verdicts(given)]
    ]


def prompt_names(record: RunRecord) -> dict[str, str]:
    """A name for each prompt id that is unique among records: the ids of imported outputs are only row numbers."""
    imported = record.scale == "imported"
    return {
        pair.prompt_id: f"{pair.prompt_id}\n{pair.prompt}" if imported else pair.prompt_id
        for pair in record.pairs
    }


def verdicts_frame(records: Sequence[RunRecord], by_order: bool = False) -> pd.DataFrame:
    """One row per verdict: the run's identity, the verdict, the policy's points and the judge's two scores.

    `judge` is named as by `judge_name`, for the verdicts of `judgements`; a panel's majority has rows as the member
    `majority`. `panel` is the panel's name, None for a single judge. `prompt_id` is named as by `prompt_names`.
    `by_order` splits a verdict from both orders into what each order alone says.
    """
    names = method_names(records)
    rows = []
    for record in records:
        identity, prompts = run_identity(record, names), prompt_names(record)
        for judge, verdict in judgements(record, by_order):
            values = (
                None if verdict.judge is None else judge,
                prompts[verdict.prompt_id],
                verdict.policy_first,
                verdict.outcome,
                points(verdict),
                *scores(verdict),
            )
            row = identity | {"judge": judge_name(judge, verdict)}
            rows.append(row | dict(zip(VERDICT, values, strict=True)))
    return pd.DataFrame(rows, columns=[*IDENTITY, "method", *VERDICT])


def history_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per training step: the run's identity and the columns of `RunRecord.history`, NaN if unmeasured.

    `reward` is the name of the trained reward, `reward_value` its measured value.
    """
    names = method_names(records)
    frames = []
    for record in records:
        unmeasured = [None] * len(record.history.get("step", []))
        measured = {"reward_value" if name == "reward" else name: c for name, c in record.history.items()}
        columns = {name: measured.get(name, unmeasured) for name in HISTORY}
        frame = pd.DataFrame(columns, dtype=float)
        frames.append(frame.assign(**run_identity(record, names), stopped=record.stopped is not None))
    return pd.concat(frames, ignore_index=True)[[*IDENTITY, "method", "stopped", *HISTORY]]


def last_training_step(record: RunRecord) -> int:
    """The last training step in a run's history; 0 without any."""
    steps = record.history.get("step", [])
    return int(steps[-1] or 0) if steps else 0


def run_identity(record: RunRecord, names: dict[str, str]) -> dict[str, Any]:
    """The fields that identify a row's run."""
    return dict(zip(IDENTITY, RUN_FIELDS(record), strict=True)) | {"method": names[record.run_id]}

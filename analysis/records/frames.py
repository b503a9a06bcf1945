"""The two long frames of the runs, that everything but stress and sanity tables is computed from."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.records.names import method_names
from cme.records import RunRecord, SanityRecord, Verdict, majority_verdicts, points, scores

IDENTITY = ("run_id", "scale", "family", "regime", "reward", "verifier", "judge", "seed")
HISTORY = (
    "step",
    "reward_value",
    "reward_std",
    "quality",
    "heldout",
    "length",
    "clipped",
    "repetition",
    "entropy",
    "kl",
    "unscored",
    "loss",
    "grad_norm",
    "accuracy",
    "majority_share",
    "label_accuracy",
)


def judge_name(record: RunRecord | SanityRecord, verdict: Verdict) -> str:
    """Whose verdict it is: the record's judge's or, where that is a panel, `panel: member`."""
    return record.judge if verdict.judge is None else f"{record.judge}: {verdict.judge}"


def prompt_names(record: RunRecord) -> dict[str, str]:
    """What each prompt id of a record is called beside other records: the ids of imported outputs are row numbers."""
    imported = record.scale == "imported"
    return {
        pair.prompt_id: f"{pair.prompt_id}\n{pair.prompt}" if imported else pair.prompt_id
        for pair in record.pairs
    }


def verdicts_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a verdict: the run's identity, the verdict, the policy's points, the judge's two scores.

    `judge` is the record's or, where that is a panel, `panel: member`; a panel's majority has rows of its own, as
    the member `majority`. `panel` is the panel's name, None for a judge of its own. `prompt_id` is
    the prompt's name among all records.
    """
    names = method_names(records)
    rows = []
    for record in records:
        identity, prompts = run_identity(record, names), prompt_names(record)
        for verdict in [*record.verdicts, *majority_verdicts(record.verdicts)]:
            score_start, score_policy = scores(verdict)
            member = verdict.judge
            rows.append(
                identity
                | {
                    "judge": judge_name(record, verdict),
                    "panel": None if member is None else record.judge,
                    "prompt_id": prompts[verdict.prompt_id],
                    "policy_first": verdict.policy_first,
                    "outcome": verdict.outcome,
                    "points": points(verdict),
                    "score_start": score_start,
                    "score_policy": score_policy,
                }
            )
    columns = ("panel", "prompt_id", "policy_first", "outcome", "points", "score_start", "score_policy")
    return pd.DataFrame(rows, columns=[*IDENTITY, "method", *columns])


def history_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a training step: the run's identity and the columns of `RunRecord.history`, NaN if unmeasured.

    `reward` is the name of the trained reward here as everywhere; its measured value is `reward_value`.
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
    """The last training step that a run's history holds, 0 without any."""
    steps = record.history.get("step", [])
    return int(steps[-1] or 0) if steps else 0


def run_identity(record: RunRecord, names: dict[str, str]) -> dict[str, Any]:
    """The fields that tell which run a row belongs to."""
    return {field: getattr(record, field) for field in IDENTITY} | {"method": names[record.run_id]}

"""Records from disk, and the two long frames of the runs that everything but stress tables is computed from."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.methods import REGIMES, REWARDS, SCALES, method_names, position
from cme.records import Outcome, RunRecord, StressRecord, Verdict, read_record, read_stress

IDENTITY = ("run_id", "scale", "family", "regime", "reward", "verifier", "judge", "seed")
MAJORITY = "majority"  # the name that a panel's majority has beside its members
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
)


def load_all(directories: Iterable[Path]) -> tuple[list[RunRecord], list[StressRecord]]:
    """The records of runs and of stress tables; one of the two may be missing. Raises as either does alone."""
    directories = list(directories)
    stress = load_stress(directories)
    return load_records(directories, may_be_none=bool(stress)), stress


def load_records(directories: Iterable[Path], *, may_be_none: bool = False) -> list[RunRecord]:
    """Every `record.json` and `*.record.json` under the directories, in the order of the tables.

    Raises FileNotFoundError for a missing directory and ValueError, naming the file, for a malformed
    record, for two records of one run, and, unless there may be none, when there is none at all.
    """
    directories = list(directories)
    sources: dict[str, Path] = {}
    records = []
    for path in record_files(directories):
        record = read_record(path)
        check(record, path)
        if record.run_id in sources:
            raise ValueError(
                f"{path} records run {record.run_id} again; it is already in {sources[record.run_id]}"
            )
        sources[record.run_id] = path
        records.append(record)
    if not records and not may_be_none:
        raise ValueError(
            f"no file named record.json or *.record.json under {', '.join(map(str, directories))}"
        )
    return sorted(records, key=table_order)


def load_stress(directories: Iterable[Path]) -> list[StressRecord]:
    """Every `stress.json` and `*.stress.json` under the directories, in the order of the tables; often none.

    Raises FileNotFoundError for a missing directory and ValueError, naming the file, for a malformed record
    and for two of one table.
    """
    sources: dict[str, Path] = {}
    records = []
    for path in record_files(directories, "stress.json"):
        record = read_stress(path)
        if any("right" not in by_grade for by_grade in record.values.values()):
            raise ValueError(f"{path} is malformed: every line needs the grade `right`")
        if record.stress_id in sources:
            raise ValueError(
                f"{path} records table {record.stress_id} again; it is already in {sources[record.stress_id]}"
            )
        sources[record.stress_id] = path
        records.append(record)
    return sorted(
        records,
        key=lambda r: (
            position(r.scale, SCALES),
            r.family,
            position(r.regime, REGIMES),
            r.verifier,
            r.stress_id,
        ),
    )


def record_files(directories: Iterable[Path], name: str = "record.json") -> list[Path]:
    """The files `name` and `*.name` under the directories, each once even where directories overlap."""
    found = set()
    for directory in directories:
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is not a directory")
        found |= {path.resolve() for path in directory.rglob(f"*{name}") if is_called(path, name)}
    return sorted(found)


def is_called(path: Path, name: str) -> bool:
    """Whether a file is called `name`, or something before a dot and `name`."""
    return path.name == name or path.name.endswith(f".{name}")


def check(record: RunRecord, path: Path) -> None:
    """Raise ValueError, naming the file, when the parts of a record don't fit together."""
    lengths = {len(column) for column in record.history.values()}
    if len(lengths) > 1 or (record.history and "step" not in record.history):
        raise ValueError(f"{path} is malformed: history needs `step` and columns of equal length")
    unknown = {verdict.prompt_id for verdict in record.verdicts} - {pair.prompt_id for pair in record.pairs}
    if unknown:
        raise ValueError(f"{path} is malformed: verdicts on prompts without a pair: {sorted(unknown)[:3]}")


def table_order(record: RunRecord) -> tuple[Any, ...]:
    """Sort key: scale, family, regime, reward, then the rest of a run's identity."""
    return (
        position(record.scale, SCALES),
        record.family,
        position(record.regime, REGIMES),
        position(record.reward, REWARDS),
        record.verifier,
        record.judge,
        record.seed,
        record.run_id,
    )


def points(verdict: Verdict) -> float:
    """The policy's points: 1 for a win, 0.5 for a tie, 0 for a loss, NaN where unscored."""
    if verdict.outcome == "unscored":
        return nan
    if verdict.outcome == "tie":
        return 0.5
    return float((verdict.outcome == "first") == verdict.policy_first)


def scores(verdict: Verdict) -> tuple[float, float]:
    """The judge's scores of (start, policy), NaN where it has none."""
    first, second = verdict.scores or (nan, nan)
    return (second, first) if verdict.policy_first else (first, second)


def majority_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What a panel's majority says of each pair in each order; nothing without two members or more.

    A win or a loss needs more than half of the votes, any other vote that is a tie. Without votes from more than
    half of the members the majority is unscored.
    """
    members = {verdict.judge for verdict in verdicts} - {None}
    if len(members) < 2:
        return []
    votes: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.judge is not None:
            cast = votes[verdict.prompt_id, verdict.policy_first]
            cast += [verdict.outcome] if verdict.outcome != "unscored" else []
    return [
        majority(prompt_id, policy_first, cast, len(members))
        for (prompt_id, policy_first), cast in votes.items()
    ]


def majority(prompt_id: str, policy_first: bool, cast: Sequence[Outcome], members: int) -> Verdict:
    """The majority's verdict from the scored votes of a panel of so many members."""
    if 2 * len(cast) <= members:
        reason = f"{len(cast)} of {members} judges scored it"
        return Verdict(prompt_id, policy_first, "unscored", reason, judge=MAJORITY)
    winner, count = Counter(cast).most_common(1)[0]
    return Verdict(prompt_id, policy_first, winner if 2 * count > len(cast) else "tie", judge=MAJORITY)


def verdicts_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a verdict: the run's identity, the verdict, the policy's points, the judge's two scores.

    `judge` is the record's or, where that is a panel, `panel: member`; a panel's majority has rows of its own, as
    the member `majority`. `panel` is the panel's name, None for a judge of its own.
    """
    names = method_names(records)
    rows = []
    for record in records:
        identity = identity_of(record, names)
        for verdict in [*record.verdicts, *majority_verdicts(record.verdicts)]:
            score_start, score_policy = scores(verdict)
            member = verdict.judge
            rows.append(
                identity
                | {
                    "judge": record.judge if member is None else f"{record.judge}: {member}",
                    "panel": None if member is None else record.judge,
                    "prompt_id": verdict.prompt_id,
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
        frames.append(frame.assign(**identity_of(record, names), stopped=record.stopped is not None))
    return pd.concat(frames, ignore_index=True)[[*IDENTITY, "method", "stopped", *HISTORY]]


def last_step(record: RunRecord) -> int:
    """The last training step that a run's history holds, 0 without any."""
    steps = record.history.get("step", [])
    return int(steps[-1] or 0) if steps else 0


def identity_of(record: RunRecord, names: dict[str, str]) -> dict[str, Any]:
    """The fields that tell which run a row belongs to."""
    return {field: getattr(record, field) for field in IDENTITY} | {"method": names[record.run_id]}

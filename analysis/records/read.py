"""Read records from disk: runs, reward probes, sanity checks of judges, experiments and separations."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from analysis.records.builds import pool_builds
from analysis.records.names import REGIMES, REWARDS, SCALES, flatten_config, order_key, result_settings
from cme.records import (
    ExperimentRecord,
    RewardProbeRecord,
    RunRecord,
    SanityRecord,
    SeparationRecord,
    Verdict,
    read_record,
    record_files,
)

R = TypeVar("R", RunRecord, RewardProbeRecord, SanityRecord, SeparationRecord)

OVERVIEW = "main_table"
"""The experiment whose runs are in the overview tables; the runs of others are in the sections of their experiments."""


@dataclass(frozen=True)
class Records:
    """All records of some folders, in the order of the tables."""

    runs: list[RunRecord]
    reward_probes: list[RewardProbeRecord]
    sanity: list[SanityRecord]
    experiments: list[ExperimentRecord]
    separation: list[SeparationRecord] = field(default_factory=list)

    def select_runs(self, experiment: ExperimentRecord) -> list[RunRecord]:
        """The runs of an experiment that have a record, in the order of the tables."""
        named = set(experiment.runs)
        return [run for run in self.runs if run.run_id in named]

    @property
    def overview(self) -> list[RunRecord]:
        """The runs of the overview tables, builds pooled: those of no experiment, or of OVERVIEW; else all."""
        shown = {run for e in self.experiments if e.name == OVERVIEW for run in e.runs}
        left = {run for e in self.experiments for run in e.runs} - shown
        in_overview = [run for run in self.runs if run.run_id not in left] or self.runs
        return [pool_builds(run) for run in in_overview]


def load_all(directories: str | Path | Iterable[str | Path]) -> Records:
    """All records under one or several directories.

    Raises FileNotFoundError for a missing directory, and ValueError that names the file for a malformed or repeated
    record, for two equal runs, and without any record.
    """
    given = [directories] if isinstance(directories, str | Path) else directories
    folders = [Path(folder) for folder in given]
    records = Records(
        load_runs(folders),
        load_reward_probes(folders),
        load_sanity(folders),
        load_experiments(folders),
        load_separation(folders),
    )
    if not (records.runs or records.reward_probes or records.sanity or records.separation):
        raise ValueError(f"no file named record.json or *.record.json under {', '.join(map(str, folders))}")
    return records


def load_runs(directories: Iterable[Path]) -> list[RunRecord]:
    """Every `record.json` and `*.record.json` under the directories, in the order of the tables.

    Raises FileNotFoundError for a missing directory, and ValueError that names the file for a malformed record and for
    two records of one run or of equal runs.
    """
    read = _read_each(directories, "record.json", RunRecord, lambda record: record.run_id)
    for path, record in read.items():
        further = [judge.verdicts for judge in record.further_judges or []]
        selected = record.selected.verdicts or [] if record.selected else []
        for verdicts in (record.verdicts, *further, selected):
            refuse_repeated(verdicts, path)
    refuse_equals(list(read.values()))
    later = attrgetter("verifier", "judge", "seed", "run_id")
    return sorted(read.values(), key=lambda r: (*_place_key(r), order_key(r.reward, REWARDS), *later(r)))


def load_reward_probes(directories: Iterable[Path]) -> list[RewardProbeRecord]:
    """Every `probe.json` and `*.probe.json`, in the order of the tables. Raises as `load_runs`."""
    read = _read_each(directories, "probe.json", RewardProbeRecord, lambda record: record.probe_id)
    for path, record in read.items():
        if any("right" not in by_grade for by_grade in record.values.values()):
            raise ValueError(f"{path} is malformed: every line needs the grade `right`")
    return sorted(read.values(), key=lambda r: (*_place_key(r), r.verifier, r.probe_id))


def load_sanity(directories: Iterable[Path]) -> list[SanityRecord]:
    """Every `sanity.json` and `*.sanity.json`, in the order of the tables. Raises as `load_runs`."""
    read = _read_each(directories, "sanity.json", SanityRecord, lambda record: record.sanity_id)
    for path, record in read.items():
        for verdicts in record.verdicts.values():
            refuse_repeated(verdicts, path)
    return sorted(
        read.values(), key=lambda r: (order_key(r.scale, SCALES), r.judge, *_place_key(r), r.sanity_id)
    )


def load_experiments(directories: Iterable[Path]) -> list[ExperimentRecord]:
    """Every `*.experiment.json`, merged by experiment and scale. Raises as `load_runs`."""
    runs: dict[tuple[str, str], set[str]] = {}
    for path in record_files(directories, "experiment.json"):
        read = read_record(path, ExperimentRecord)
        runs.setdefault((read.scale, read.name), set()).update(read.runs)
    return [ExperimentRecord(name, scale, sorted(ids)) for (scale, name), ids in sorted(runs.items())]


def load_separation(directories: Iterable[Path]) -> list[SeparationRecord]:
    """Every `separation.json` and `*.separation.json`, in the order of the tables. Raises as `load_runs`."""
    read = _read_each(directories, "separation.json", SeparationRecord, lambda record: record.separation_id)
    return sorted(read.values(), key=lambda r: (*_place_key(r), r.data, r.verifier, r.seed, r.separation_id))


def _read_each(
    directories: Iterable[Path], name: str, kind: type[R], identify: Callable[[R], str]
) -> dict[Path, R]:
    """Every record of a kind by its file. Raises ValueError for two records with the same identity."""
    records: dict[Path, R] = {}
    sources: dict[str, Path] = {}
    for path in record_files(directories, name):
        record = records[path] = read_record(path, kind)
        known = sources.setdefault(identify(record), path)
        if known != path:
            raise ValueError(f"{path} records {identify(record)} again; it is already in {known}")
    return records


def _place_key(record: RunRecord | RewardProbeRecord | SanityRecord | SeparationRecord) -> tuple[Any, ...]:
    return order_key(record.scale, SCALES), record.family, order_key(record.regime, REGIMES)


def refuse_repeated(verdicts: Sequence[Verdict], path: Path) -> None:
    """Raise ValueError that names the file for two verdicts of one judge on one prompt in one order."""
    counts = Counter((v.prompt_id, v.policy_first, v.judge) for v in verdicts)
    for (prompt_id, policy_first, judge), count in counts.items():
        if count > 1:
            raise ValueError(
                f"{path} is malformed: {judge or 'the judge'} has several verdicts on prompt_id {prompt_id!r} with "
                f"policy_first={policy_first}; keep one of them"
            )


def refuse_equals(records: Sequence[RunRecord]) -> None:
    """Raise ValueError for two runs with the same settings, judge and seed: pooled, each prompt would count twice.

    A further judge counts as the judge of a run of its own.
    """
    run_key = attrgetter("scale", "family", "regime", "reward", "verifier", "seed")
    seen: dict[Hashable, RunRecord] = {}
    for record in records:
        settings = result_settings(record)
        of_judges = {record.judge: settings}
        for further in record.further_judges or []:
            others = {field: value for field, value in settings.items() if not field.startswith("judge.")}
            of_judges[further.name] = others | dict(flatten_config(further.settings))
        for judge, fields in of_judges.items():
            key = *run_key(record), judge, frozenset(fields.items())
            other = seen.setdefault(key, record)
            if other is record:
                continue
            raise ValueError(
                f"{other.run_id} and {record.run_id} have the same settings, judge and seed ({record.seed}), so each "
                "prompt would count twice: delete one record, rerun the other with another seed or, for imported "
                "outputs, import it under another --name"
            )

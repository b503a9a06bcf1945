"""The twin of a run: a finished run that differs from it in its judge alone, so that its responses can be judged.

Nothing is trained, generated or loaded for the run then, except its judge.
"""

import glob
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cme.records import CUT_START, BadFile, RunRecord, read_record
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.validation import validate
from experiments.run import judging
from experiments.run.inputs import resolve_weights
from experiments.run.store import RECORD, Store

ON_JUDGE = re.compile(r"(^|\s)judge[.=]")
"""What a record's warnings on its judge contain, and those on the judge of checkpoint selection do not."""


def find_twin(run: Run, store: Store) -> RunRecord | None:
    """The record of the run's twin in the same results folder; None without one.

    A record that lacks a verdict of checkpoint selection is no twin.
    """
    for record in _find_others(store.folder, identity.identity_fields(run, without=("judge",))):
        checkpoints = [] if record.trajectory is None else record.trajectory.checkpoints
        if not any(checkpoint.unscored for checkpoint in checkpoints):
            return record
    return None


def find_judged(folder: Path, record: RunRecord, judge: str, settings: Mapping[str, Any]) -> RunRecord | None:
    """The record of another run with the same responses as the record in `folder` and this judge; None without one."""
    others = _find_others(folder, _fields_but_judge(record))
    return next((o for o in others if o.judge == judge and judge_settings(o) == settings), None)


def judge_settings(record: RunRecord) -> dict[str, Any]:
    """The settings of a record's own judge that change its verdicts; empty if they are not recorded."""
    node = record.config.get("judge")
    return identity.judge_fields(Component.from_node(node)) if node else {}


def _find_others(folder: Path, fields: Mapping[str, Any] | None) -> Iterator[RunRecord]:
    """The records beside a run's folder that can be read and have these settings besides those of their judge."""
    name = glob.escape(folder.name.rpartition("-")[0])
    for path in sorted(folder.parent.glob(f"{name}-{'[0-9a-f]' * 8}/{RECORD}")):
        if path.parent.name == folder.name:
            continue
        try:
            record = read_record(path)
        except BadFile:  # the command that wrote it reports it
            continue
        if fields is not None and _fields_but_judge(record) == fields:
            yield record


def _fields_but_judge(record: RunRecord) -> Mapping[str, Any] | None:
    """The settings of a record as `identity_fields` gives those of a run, without its judge's; None if unknown."""
    if record.neutral is None:
        return None
    return identity.leave_out(identity.flatten(record.config), (*record.neutral, "judge"))


def take_over(run: Run, store: Store, twin: RunRecord, loaded: Collection[str]) -> RunRecord:
    """The twin's record as that of the run, without verdicts on policy and comparators.

    Only the comparisons that the run asks for stay, with their responses alone. The verdicts on a selected checkpoint
    are still the twin's. `loaded` are the checkpoints that the run would load without a twin.
    """
    comparisons = [
        replace(c, policy=[], start=None)
        for c in twin.comparisons or []
        if run.comparisons.get(c.name) == c.checkpoint
    ]
    of_run = validate(run)
    warnings = of_run + judging.truncation_warnings(run, twin.pairs)
    warnings += [w for w in twin.warnings if w not in of_run and not ON_JUDGE.search(w)]
    read = {f"comparator {c.name}'s": c.responses for c in comparisons if c.name != CUT_START}
    if twin.selected is not None and twin.selected.responses is not None:
        read = {"the selected checkpoint's": twin.selected.responses} | read
    for owner, responses in read.items():
        warnings += judging.unread_warnings(run.judge, responses, [], owner=owner)
    of_judge = judging.checkpoints(Component.from_node(twin.config["judge"]))
    unused = {f"weights of {name}" for name in of_judge if name not in loaded}
    environment = {key: value for key, value in twin.environment.items() if key not in unused}
    weights = resolve_weights(judging.checkpoints(run.judge))
    return replace(
        twin,
        run_id=store.folder.name,
        judge=run.judge.name,
        experiment=run.experiment.name,
        config=run.settings,
        neutral=identity.neutral_fields(run),
        environment=environment | {f"weights of {name}": folder for name, folder in weights.items()},
        warnings=warnings,
        verdicts=[],
        seconds={stage: took for stage, took in twin.seconds.items() if stage not in ("judge", "compare")},
        comparisons=comparisons or None,
        further_judges=None,
    )

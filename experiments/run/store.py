"""The files of a run, the stages that are kept in them, and what a record still lacks.

A file under its final name is complete.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from cme.models.generation_log import GenerationLog
from cme.records import (
    BadFile,
    ExperimentRecord,
    Generation,
    RunRecord,
    read_json,
    read_record,
    write_json,
    write_record,
)
from cme.rewards.judge import LOG
from cme.runtime.files import delete_partial_files, hold_lock
from experiments.config import identity, schema
from experiments.config.runs import Run

RECORD = "record.json"
"""The record of a finished run in its folder."""


def trains(run: Run) -> bool:
    """Whether the run trains and evaluates a policy; probes, and functions of the user's, do not."""
    return run.experiment.run == schema.Experiment.run


class Store:
    """The files of one run under `results_dir`, and those that runs share."""

    def __init__(self, run: Run) -> None:
        root = Path(run.results_dir)
        self.folder = root / run.run_id
        self.record = self.folder / RECORD
        self.verdicts = self.folder / "verdicts.jsonl"
        self.selection_verdicts = self.folder / "selection" / "verdicts.jsonl"
        # runs share a training, with the policy's responses and capabilities
        self.trained = root / "trainings" / identity.training_id(run)
        self.checkpoint = self.trained / "checkpoint"
        self.resume = self.trained / "resume"  # deleted when the training is complete
        self.training = self.trained / "training.json"
        self.reward_verdicts = self.trained / LOG  # of a reward that is a judge
        self.tracking = self.trained / "tracking.json"  # warnings of a tracker that failed
        # while any run has its mark there, it has not selected a checkpoint, and saved checkpoints stay
        self.selecting = self.trained / "selecting" / run.run_id
        # what a policy's evaluation responses depend on besides the training
        self.responses_digest = identity.digest(identity.responses_fields(run))
        self.generations = self.trained / f"generations-{self.responses_digest}.json"
        self.samples = self.trained / f"samples-{self.responses_digest}.json"  # that best-of-n chooses from
        # runs share the responses of untrained models, comparators and verifiers
        self.starts = root / "starts"
        self.start = self.starts / f"{identity.start_id(run)}.json"
        self.verifiers = root / "verifiers"

    def saved_responses(self, step: int, prompts: str) -> Path:
        """The responses of the policy after a step to the prompts with the digest `prompts`."""
        return self.trained / "selection" / f"step-{step}-{prompts}.json"


class Stage(NamedTuple):
    """What a stage made, and the seconds that it took over all attempts."""

    value: Any
    seconds: float


def cached_stage(path: Path, inputs: Any, make: Callable[[GenerationLog], Any]) -> Stage:
    """The stage in a file, which is made and written unless the file is there and was made from equal `inputs`.

    `make` gets the log of the generations of earlier attempts. If several processes need the file, one makes it and
    the others wait. Raises BadFile for a file that is not a stage's.
    """
    made_from = identity.digest(inputs)
    unfinished = path.with_suffix(".unfinished.jsonl")
    with hold_lock(path.with_name(f"{path.name}.lock")):
        delete_partial_files(path.parent, path.name)
        if path.exists() and (known := _read_stage(path))["made_from"] == made_from:
            # of an attempt that ended just before it would have deleted it
            unfinished.unlink(missing_ok=True)
        else:
            log = GenerationLog(unfinished, made_from)
            began = time.perf_counter()
            value = make(log)
            seconds = log.seconds + time.perf_counter() - began
            write_json(path, {"made_from": made_from, "seconds": seconds, "value": value})
            log.delete()
            known = _read_stage(path)
    return Stage(known["value"], known["seconds"])


def _read_stage(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(path)
        _ = content["made_from"], content["seconds"], content["value"]
    except (LookupError, TypeError, ValueError) as error:
        raise BadFile(
            f"{path} is not a stage's file ({error!r}): delete it, and the same command makes it again"
        ) from None
    return content


def cached_generations(
    path: Path, inputs: Any, make: Callable[[GenerationLog], Sequence[Generation]]
) -> tuple[list[Generation], float]:
    """The responses of a stage and the seconds that they took; see `cached_stage`."""
    stage = cached_stage(path, inputs, lambda log: [asdict(response) for response in make(log)])
    return [Generation(**response) for response in stage.value], stage.seconds


def add_to_experiments(runs: Iterable[Run]) -> None:
    """Add runs to the lists of the named experiments that they belong to.

    Raises Unavailable where nothing can be written, ValueError for a list that cannot be read.
    """
    members: dict[tuple[Path, str, str], set[str]] = {}
    for run in runs:
        if (name := run.experiment.name) is not None:
            path = Path(run.results_dir) / "experiments" / f"{run.scale.name}-{name}.experiment.json"
            members.setdefault((path, name, run.scale.name), set()).add(run.run_id)
    for (path, name, scale), run_ids in members.items():
        with hold_lock(Path(f"{path}.lock")):
            known = set(read_record(path, ExperimentRecord).runs) if path.exists() else set()
            if not run_ids <= known:
                write_record(path, ExperimentRecord(name, scale, sorted(known | run_ids)))


def count_unscored_selection(record: RunRecord) -> int:
    """Number of unscored verdicts of checkpoint selection."""
    checkpoints = [] if record.trajectory is None else record.trajectory.checkpoints
    selected = [] if record.selected is None else record.selected.verdicts or []
    on_selected = sum(v.outcome == "unscored" for v in selected)
    return on_selected + sum(n for checkpoint in checkpoints for n in checkpoint.unscored.values())


def finished_comparators(record: RunRecord) -> dict[str, str]:
    """The comparators whose comparison is in the record with every verdict scored: checkpoint by name."""
    return {
        c.name: c.checkpoint
        for c in record.comparisons or []
        if c.start is not None and all(v.outcome != "unscored" for v in (*c.policy, *c.start))
    }

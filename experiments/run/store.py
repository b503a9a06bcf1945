"""Where a run's files lie, and whether a stage is done: a file under its final name is whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cme.records import ExperimentRecord, RunRecord, read_record, write_record
from cme.runtime.files import hold_lock
from experiments.config import identity
from experiments.config.runs import Run


@dataclass(frozen=True)
class Store:
    """The files of one run under `results_dir`. Untrained starts' generations are shared between runs.

    `comparators` are the further models that the run is to meet, by name.
    """

    folder: Path
    start: Path
    comparators: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Run) -> "Store":
        """The store of a composed cell."""
        root = Path(config.results_dir)
        start = root / "starts" / f"{identity.start_id(config)}.json"
        return cls(root / config.run_id, start, identity.comparators(config))

    @property
    def checkpoint(self) -> Path:
        """The trained policy."""
        return self.folder / "checkpoint"

    @property
    def resume(self) -> Path:
        """The folder of a training's checkpoints, there until it is over."""
        return self.folder / "resume"

    @property
    def training(self) -> Path:
        """Training history."""
        return self.folder / "training.json"

    @property
    def generations(self) -> Path:
        """The trained policy's responses to the evaluation prompts."""
        return self.folder / "generations.json"

    @property
    def tracking(self) -> Path:
        """Warnings of a tracker that failed."""
        return self.folder / "tracking.json"

    @property
    def samples(self) -> Path:
        """The start's samples that best-of-n chooses from, with their rewards."""
        return self.folder / "samples.json"

    @property
    def verdicts(self) -> Path:
        """The log of the judge's verdicts."""
        return self.folder / "verdicts.jsonl"

    @property
    def starts(self) -> Path:
        """What is known of untrained starts, shared between runs."""
        return self.start.parent

    def verifier_answers(self, config: Run) -> Path:
        """The verifier's answers to the training prompts, shared between the starts that learn from them."""
        return self.folder.parent / "verifiers" / f"{identity.verifier_answers_id(config)}.json"

    def verifier_responses(self, config: Run, name: str) -> Path:
        """A verifier's own responses to the evaluation prompts, shared between runs."""
        return self.folder.parent / "verifiers" / f"{identity.verifier_responses_id(config, name)}.json"

    @property
    def selection(self) -> Path:
        """The folder of what checkpoint selection saw, a file a checkpoint."""
        return self.folder / "selection"

    @property
    def capabilities(self) -> Path:
        """The trained policy's scores on lm-eval's tasks."""
        return self.folder / "capabilities.json"

    @property
    def record(self) -> Path:
        """The run, whole."""
        return self.folder / "record.json"

    @property
    def done(self) -> bool:
        """Whether the run has a record in which every verdict is scored, those of checkpoint selection too.

        And in which it has met its comparators.
        """
        if not self.record.exists():
            return False
        record = read_record(self.record)
        return not count_unscored(record) and not pending_comparators(record, self.comparators)


def add_to_experiments(configs: Iterable[Run]) -> None:
    """Write down which runs belong to each named experiment, beside those that did before.

    Raises Unavailable where nothing can be written, ValueError for a list that cannot be read.
    """
    found: dict[tuple[Path, str, str], set[str]] = {}
    for config in configs:
        if (name := config.experiment.name) is not None:
            file = f"{config.scale.name}-{name}.experiment.json"
            path = Path(config.results_dir) / "experiments" / file
            found.setdefault((path, name, config.scale.name), set()).add(config.run_id)
    for (path, name, scale), asked in found.items():
        with hold_lock(Path(f"{path}.lock")):
            known = set(read_record(path, ExperimentRecord).runs) if path.exists() else set()
            if not asked <= known:
                write_record(path, ExperimentRecord(name, scale, sorted(known | asked)))


def selection_pending(record: RunRecord) -> bool:
    """Whether checkpoint selection has an unscored verdict."""
    compared = [] if record.trajectory is None else record.trajectory.milestones
    chosen = [] if record.selected is None else record.selected.verdicts or []
    return any(m.unscored for m in compared) or any(v.outcome == "unscored" for v in chosen)


def count_unscored(record: RunRecord) -> int:
    """How many verdicts of a record are unscored: the run's, and those of checkpoint selection."""
    chosen = [] if record.selected is None else record.selected.verdicts or []
    compared = [] if record.trajectory is None else record.trajectory.milestones
    return sum(v.outcome == "unscored" for v in (*record.verdicts, *chosen)) + sum(
        sum(m.unscored.values()) for m in compared
    )


def finished_comparators(record: RunRecord) -> dict[str, str]:
    """Those comparators that a record has a comparison with in which every verdict is scored."""
    return {
        met.name: met.checkpoint
        for met in record.comparisons or []
        if met.start is not None and all(v.outcome != "unscored" for v in (*met.policy, *met.start))
    }


def pending_comparators(record: RunRecord, comparators: Mapping[str, str]) -> dict[str, str]:
    """Those comparators that a record has not met."""
    done = finished_comparators(record)
    return {name: checkpoint for name, checkpoint in comparators.items() if done.get(name) != checkpoint}


def environment() -> dict[str, str]:
    """Versions and machine of this process, for the record; nothing that identifies a person or a host."""
    import platform
    from importlib.metadata import version

    import torch

    packages = ("torch", "transformers", "trl", "hydra-core", "accelerate", "datasets")
    found: dict[str, Any] = {p: version(p) for p in packages}
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"cpu, {torch.get_num_threads()} threads"
    )
    return {"python": platform.python_version(), "device": device, **found}

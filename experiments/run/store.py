"""Where a run's files lie, and what its record still lacks. A file under its final name is complete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cme.records import CUT_START, ExperimentRecord, RunRecord, read_record, write_record
from cme.runtime.files import hold_lock
from experiments.config import identity
from experiments.config.runs import Run

RECORD = "record.json"
"""The record of a finished run in its folder."""


@dataclass(frozen=True)
class Store:
    """The files of one run under `results_dir`, and those of its training, which runs share.

    Attributes:
        folder: The folder of the run: its verdicts and its record.
        trained: The folder of the training: the policy, its history, its responses and its capabilities.
        responses_digest: Digest of what a policy's evaluation responses depend on besides the training.
        start: The untrained model's responses to the evaluation prompts, which runs share.
        comparators: What the run is compared with, further models and the cut start: checkpoint by name.
    """

    folder: Path
    trained: Path
    responses_digest: str
    start: Path
    comparators: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> "Store":
        """The store of a run."""
        root = Path(run.results_dir)
        return cls(
            root / run.run_id,
            root / "trainings" / identity.training_id(run),
            identity.digest(identity.responses_fields(run)),
            root / "starts" / f"{identity.start_id(run)}.json",
            identity.comparisons(run),
        )

    @property
    def checkpoint(self) -> Path:
        """The trained policy."""
        return self.trained / "checkpoint"

    @property
    def resume(self) -> Path:
        """The folder of the checkpoints that a training resumes from; deleted when it is complete."""
        return self.trained / "resume"

    @property
    def training(self) -> Path:
        """Training history."""
        return self.trained / "training.json"

    @property
    def generations(self) -> Path:
        """The trained policy's responses to the evaluation prompts."""
        return self.trained / f"generations-{self.responses_digest}.json"

    @property
    def tracking(self) -> Path:
        """Warnings of a tracker that failed."""
        return self.trained / "tracking.json"

    @property
    def samples(self) -> Path:
        """The start's samples that best-of-n chooses from, with their rewards."""
        return self.trained / f"samples-{self.responses_digest}.json"

    @property
    def verdicts(self) -> Path:
        """The log of the judge's verdicts."""
        return self.folder / "verdicts.jsonl"

    @property
    def starts(self) -> Path:
        """The folder of files on untrained models, which runs share."""
        return self.start.parent

    def verifier_answers(self, run: Run) -> Path:
        """The verifier's answers to the training prompts, which runs share."""
        return self.folder.parent / "verifiers" / f"{identity.verifier_answers_id(run)}.json"

    def verifier_responses(self, run: Run, name: str) -> Path:
        """A verifier's own responses to the evaluation prompts, which runs share."""
        return self.folder.parent / "verifiers" / f"{identity.verifier_responses_id(run, name)}.json"

    @property
    def selection_verdicts(self) -> Path:
        """The log of the verdicts of checkpoint selection."""
        return self.folder / "selection" / "verdicts.jsonl"

    def saved_responses(self, step: int, prompts: str) -> Path:
        """The responses of the policy after a step to the prompts with the digest `prompts`."""
        return self.trained / "selection" / f"step-{step}-{prompts}.json"

    @property
    def selecting(self) -> Path:
        """The mark of a run that has not selected a checkpoint yet; while there is one, saved checkpoints stay."""
        return self.trained / "selecting" / self.folder.name

    def capabilities(self, settings: str) -> Path:
        """The trained policy's scores on lm-eval's tasks, by the digest of their settings."""
        return self.trained / f"capabilities-{settings}.json"

    @property
    def record(self) -> Path:
        """The record of the finished run."""
        return self.folder / RECORD

    @property
    def done(self) -> bool:
        """Whether the record has every comparison with a further model, and every verdict in it is scored."""
        if not self.record.exists():
            return False
        record = read_record(self.record)
        return not count_unscored(record) and not pending_comparators(record, self.comparators)


def add_to_experiments(runs: Iterable[Run]) -> None:
    """Add runs to the lists of the named experiments that they belong to.

    Raises Unavailable where nothing can be written, ValueError for a list that cannot be read.
    """
    members: dict[tuple[Path, str, str], set[str]] = {}
    for run in runs:
        if (name := run.experiment.name) is not None:
            file = f"{run.scale.name}-{name}.experiment.json"
            path = Path(run.results_dir) / "experiments" / file
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


def count_unscored(record: RunRecord) -> int:
    """Number of unscored verdicts on the policy and of checkpoint selection."""
    return sum(v.outcome == "unscored" for v in record.verdicts) + count_unscored_selection(record)


def finished_comparators(record: RunRecord) -> dict[str, str]:
    """The comparators whose comparison is in the record with every verdict scored: checkpoint by name."""
    return {
        c.name: c.checkpoint
        for c in record.comparisons or []
        if c.start is not None and all(v.outcome != "unscored" for v in (*c.policy, *c.start))
    }


def pending_comparators(record: RunRecord, comparators: Mapping[str, str]) -> dict[str, str]:
    """Those of the comparators whose comparison the record lacks or has with unscored verdicts."""
    finished = finished_comparators(record)
    return {name: checkpoint for name, checkpoint in comparators.items() if finished.get(name) != checkpoint}


def pending_checkpoints(store: Store, record: RunRecord) -> list[str]:
    """The distinct checkpoints that must respond before the run of a record can be compared with them."""
    known = {(c.name, c.checkpoint) for c in record.comparisons or []}
    pending = pending_comparators(record, store.comparators).items()
    models = [c for name, c in pending if name != CUT_START and (name, c) not in known]
    return list(dict.fromkeys(models))


def lacks_cut_start(store: Store, record: RunRecord) -> bool:
    """Whether the run of a record is to be compared with the cut start and has not been."""
    known = {c.name for c in record.comparisons or []}
    return CUT_START in store.comparators.keys() - known


def environment() -> dict[str, str]:
    """Versions and machine of this process for the record; nothing that identifies a person or a host."""
    import platform
    from importlib.metadata import version

    import torch

    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads"
    packages = ("torch", "transformers", "trl", "hydra-core", "accelerate", "datasets")
    return {"python": platform.python_version(), "device": device} | {p: version(p) for p in packages}

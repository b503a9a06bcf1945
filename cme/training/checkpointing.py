"""A training that goes on from its last checkpoint, and ends as the one that was never interrupted.

The checkpoints are transformers.Trainer's own: weights, optimizer, scheduler, random states, log. Three things are
added. What else has a state is saved too: the parts that have `state_dict` and `load_state_dict` (the guard, the
`random` reward), the trainer's own counters, the place of a sampler in its epochs. A checkpoint counts only with a
marker, written last, that has every file's size and SHA-256. And none is saved while completions are left that TRL has
generated and not yet trained on, since they are in no checkpoint of its.
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from cme import Unavailable
from cme.records import explain_write_errors, read_json, write_json
from cme.runtime import signals
from cme.runtime.files import sync_folder, sync_path

MARKER = "whole.json"
KEPT = 2
"""Checkpoints that are kept: the newest, and the one before in case the newest turns out to be damaged."""

COUNTERS = ("_step", "_total_train_tokens")  # of TRL's trainers; no checkpoint of theirs has them

WRITE_ERRORS = (
    OSError,
    RuntimeError,
    SafetensorError,
)  # what files that cannot be written end in, by library


@dataclass(frozen=True)
class Checkpointing:
    """Where a training's checkpoints lie, the steps between them, and a digest of all that it is made from."""

    folder: Path
    every: int
    made_from: str


@dataclass(frozen=True)
class CompleteCheckpoint:
    """A whole checkpoint, the training's seconds until then, its bytes, and how many processes saved it."""

    path: Path
    seconds: float
    bytes: int
    processes: int


def newest_checkpoint(where: Checkpointing) -> CompleteCheckpoint | None:
    """The newest whole checkpoint, None where there is none. Those that are not whole are deleted.

    One that is damaged is named on stderr; one without a marker was being written when the training ended.
    """
    with explain_write_errors(where.folder):
        for path in sorted(where.folder.glob("checkpoint-*"), key=_step, reverse=True):
            damage = "it was never whole"
            if (path / MARKER).exists():
                marker, damage = _read(path)
                if not damage and marker["made_from"] == where.made_from:
                    return CompleteCheckpoint(path, marker["seconds"], _bytes(marker), marker["processes"])
                if damage:
                    print(
                        f"{path} is damaged ({damage}): training goes on from the checkpoint before it, "
                        "or from the start",
                        file=sys.stderr,
                    )
            _delete(path)
    return None


def train_with_checkpoints(trainer: Trainer, where: Checkpointing | None, parts: Mapping[str, Any]) -> float:
    """Train, from the newest whole checkpoint where there is one; return the seconds that it took until then.

    `parts` are saved and loaded by their names if they have `state_dict` and `load_state_dict`. A signal that waits
    (`cme.runtime.signals`) is answered after a checkpoint. Raises Unavailable where a checkpoint cannot be saved; those
    before it are whole.
    """
    if where is None:
        trainer.train()
        return 0.0
    with trainer.accelerator.main_process_first():
        last = newest_checkpoint(where)
    keeper = _Keeper(trainer, where, {n: p for n, p in parts.items() if hasattr(p, "state_dict")}, last)
    if last is not None:
        keeper.load(last)
        if trainer.is_world_process_zero():
            print(f"training goes on from step {_step(last.path)}", file=sys.stderr)
    trainer.add_callback(keeper)
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last.path))
    except WRITE_ERRORS as error:
        if not keeper.saving:
            raise
        raise write_error(where.folder, error) from error
    finally:
        for (
            callback
        ) in trainer.callback_handler.callbacks:  # a bar left open would share its line with the error
            if getattr(callback, "training_bar", None) is not None:
                callback.training_bar.close()
    return 0.0 if last is None else last.seconds


def write_error(folder: Path, error: Exception) -> Unavailable:
    """What to raise where weights could not be written to a folder."""
    why = str(error).splitlines()[0]
    return Unavailable(
        f"{folder} cannot be written ({why}): free some space there, and the same command goes on from the last "
        "whole checkpoint"
    )


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Has checkpoints saved, completes them, and deletes those that are older than is needed."""

    def __init__(
        self,
        trainer: Trainer,
        where: Checkpointing,
        parts: Mapping[str, Any],
        last: CompleteCheckpoint | None,
    ) -> None:
        self.trainer, self.where, self.parts, self.last = trainer, where, parts, last
        self.saving = False
        self._resumed = last is not None
        self._before = 0.0 if last is None else last.seconds
        self._began = time.perf_counter()

    def load(self, last: CompleteCheckpoint) -> None:
        """Give the parts and the trainer's counters what they had.

        Raises Unavailable where another number of processes saved it.
        """
        processes = self.trainer.args.world_size
        if last.processes != processes:
            raise Unavailable(
                f"{last.path} was saved by {last.processes} processes and this training has {processes}: use as many, "
                f"or delete {self.where.folder} to start over"
            )
        saved = torch.load(last.path / self._own_file(), weights_only=True)
        for name in self.parts.keys() & saved["parts"].keys():  # a callback may be a new one
            self.parts[name].load_state_dict(saved["parts"][name])
        for name, value in saved["counters"].items():
            setattr(self.trainer, name, value)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Find out that the disk is too small before the first step, not after the fiftieth, and answer a signal."""
        if self._asked():
            signals.act_on_pending()  # nothing is lost yet
        self._check_space()

    def on_epoch_begin(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        """Bring the sampler of a resumed training to where it was: it draws one order an epoch."""
        if not self._resumed:
            return
        self._resumed = False
        batches = train_dataloader.batch_sampler
        sampler = getattr(batches, "batch_sampler", batches).sampler  # the inner one where processes share
        done = int(state.epoch or 0)
        for _epoch in range(done):
            next(iter(sampler))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(done)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint when one is due, a signal waits, or one was due while completions were left."""
        due = self._asked() or state.global_step - self._last_step() >= self.where.every
        if due and state.global_step < state.max_steps and not self._buffered():
            self._check_space()
            control.should_save = True

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Just before a checkpoint is written; of a training that the guard ends, none is."""
        if control.should_training_stop:
            control.should_save = False
        self.saving = control.should_save

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Complete what the trainer has written, and answer a signal that waits."""
        path = self.where.folder / f"checkpoint-{state.global_step}"
        counters = {name: getattr(self.trainer, name) for name in COUNTERS if hasattr(self.trainer, name)}
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"parts": parts, "counters": counters}, path / self._own_file())
        self.trainer.accelerator.wait_for_everyone()
        if args.should_save:
            seconds = self._before + time.perf_counter() - self._began
            write_marker(path, self.where.made_from, seconds, args.world_size)
            _prune(self.where.folder)
        self.trainer.accelerator.wait_for_everyone()
        marker = read_json(path / MARKER)
        self.last = CompleteCheckpoint(path, marker["seconds"], _bytes(marker), args.world_size)
        self.saving = False
        if self._asked():
            signals.act_on_pending()

    def _own_file(self) -> str:
        return f"parts-{self.trainer.args.process_index}.pt"

    def _last_step(self) -> int:
        return 0 if self.last is None else _step(self.last.path)

    def _asked(self) -> bool:
        """Whether a signal waits in any process: all save, or none."""
        if self.trainer.args.world_size == 1:
            return signals.has_pending()
        accelerator = self.trainer.accelerator
        return bool(
            accelerator.gather(torch.tensor([signals.has_pending()], device=accelerator.device)).any()
        )

    def _buffered(self) -> bool:
        """Whether TRL has completions left that it will train on: each generation is for so many passes."""
        passes = getattr(self.trainer, "num_iterations", 1) * getattr(
            self.trainer.args, "steps_per_generation", 1
        )
        return bool(getattr(self.trainer, "_step", 0) % passes)

    def _check_space(self) -> None:
        """Raise Unavailable where a checkpoint does not fit on the disk."""
        if not self.trainer.args.should_save:
            return
        with explain_write_errors(self.where.folder):
            self.where.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.where.folder).free
        needed = _estimate(self.trainer.model) if self.last is None else self.last.bytes
        if free < needed:
            raise Unavailable(
                f"{self.where.folder} has {_size(free)} free and a checkpoint takes {_size(needed)}: free some space "
                "there, and the same command goes on from the last whole checkpoint"
            )


def write_marker(path: Path, made_from: str, seconds: float, processes: int, files: str = "**/*") -> None:
    """Sync a checkpoint's files and write its marker, of those that match `files`, in place of one that it has."""
    (path / MARKER).unlink(missing_ok=True)
    found = {}
    for file in sorted(p for p in path.glob(files) if p.is_file()):
        sync_path(file)
        found[str(file.relative_to(path))] = [file.stat().st_size, _digest(file)]
    sync_folder(path)
    marker = {"made_from": made_from, "seconds": seconds, "processes": processes, "files": found}
    write_json(path / MARKER, marker)
    sync_path(path.parent)


def _prune(folder: Path) -> None:
    """Delete all but the newest whole checkpoints."""
    whole = sorted((m.parent for m in folder.glob(f"checkpoint-*/{MARKER}")), key=_step)
    for path in whole[:-KEPT]:
        _delete(path)


def _delete(path: Path) -> None:
    """Delete a checkpoint so that what is left of it, should that end in the middle, is no whole one."""
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path)


def find_damage(path: Path) -> str:
    """What is wrong with a checkpoint's files, by its marker: nothing where it is whole, or has none."""
    return _read(path)[1] if (path / MARKER).exists() else ""


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A checkpoint's marker, and what is wrong with its files: nothing where it is whole."""
    try:
        marker: dict[str, Any] = read_json(path / MARKER)
        files = marker["files"].items()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return {}, f"{MARKER} is not readable: {error}"
    for name, (size, digest) in files:
        file = path / name
        if not file.is_file():
            return marker, f"{name} is missing"
        if file.stat().st_size != size:
            return marker, f"{name} has {file.stat().st_size} bytes in place of {size}"
        if _digest(file) != digest:
            return marker, f"{name} has other bytes than were written"
    return marker, ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _bytes(marker: Mapping[str, Any]) -> int:
    return sum(size for size, _ in marker["files"].values())


def _estimate(model: torch.nn.Module) -> int:
    """Bytes of a first checkpoint: weights, and two moments of each that is trained."""
    return sum(p.numel() * p.element_size() * (3 if p.requires_grad else 1) for p in model.parameters())


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"

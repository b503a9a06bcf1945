"""Resuming a training from its last checkpoint, so that it ends exactly as if it had never been interrupted.

The checkpoints are those of transformers.Trainer. Added are other parts with a state (the guard, the `random` reward),
TRL's counters, and the position of the sampler in its epochs. A checkpoint counts only with a marker, which is written
last (`cme.training.checkpoint_files`). None is saved while TRL still holds generated completions, which no checkpoint
contains.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState

from cme import Unavailable
from cme.records import explain_write_errors
from cme.runtime import signals
from cme.runtime.space import check_disk
from cme.training import trl_internals
from cme.training.checkpoint_files import (
    WRITE_ERRORS,
    Checkpointing,
    newest_checkpoint,
    prune_checkpoints,
    read_marker,
    step_of,
    write_error,
    write_marker,
)


class Stateful(Protocol):
    """A part of a training that has state to save."""

    def state_dict(self) -> dict[str, Any]:
        """The state to save."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""


def train_with_checkpoints(
    trainer: Trainer, where: Checkpointing | None, parts: Mapping[str, Stateful]
) -> float:
    """Train, from the newest complete checkpoint if there is one; return its seconds of training.

    The states of `parts` are saved and restored by name. A pending signal (`cme.runtime.signals`) is answered after a
    checkpoint. Raises Unavailable where a checkpoint cannot be saved; earlier checkpoints stay complete.
    """
    if where is None:
        trainer.train()
        return 0.0
    with trainer.accelerator.main_process_first():
        last = newest_checkpoint(where)
    keeper = _Keeper(trainer, where, parts, last)
    if last is not None:
        keeper.restore(last)
        if trainer.is_world_process_zero():
            print(f"training continues from step {step_of(last)}", file=sys.stderr)
    trainer.add_callback(keeper)
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except WRITE_ERRORS as error:
        if not keeper.saving:
            raise
        raise write_error(where.folder, error) from error
    finally:
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback) and callback.training_bar is not None:
                callback.training_bar.close()  # an open bar would share its line with the error
    return keeper.earlier_seconds


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Requests checkpoints, completes them, and deletes old ones."""

    def __init__(
        self, trainer: Trainer, where: Checkpointing, parts: Mapping[str, Stateful], last: Path | None
    ) -> None:
        self.trainer, self.where, self.parts, self.last = trainer, where, parts, last
        self.saving = False
        self._resumed = last is not None
        self.earlier_seconds = 0.0 if last is None else read_marker(last).seconds
        self._began = time.perf_counter()

    def restore(self, last: Path) -> None:
        """Restore the parts and TRL's counters. Raises Unavailable if another number of processes saved them."""
        before, processes = read_marker(last).processes, self.trainer.args.world_size
        if before != processes:
            raise Unavailable(
                f"{last} was saved by {before} processes and this training has {processes}: use as many, or delete "
                f"{self.where.folder} to start over"
            )
        saved = torch.load(last / self._parts_file(), weights_only=True)
        for name in self.parts.keys() & saved["parts"].keys():
            self.parts[name].load_state_dict(saved["parts"][name])
        vars(self.trainer).update(saved["counters"])

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Check the disk before the first step rather than at the first checkpoint, and answer a signal."""
        if self._has_signal():
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
        """Advance the sampler of a resumed training to its epoch; it draws one order per epoch."""
        if not self._resumed:
            return
        self._resumed = False
        batches = train_dataloader.batch_sampler
        if isinstance(batches, BatchSamplerShard):
            batches = batches.batch_sampler
        sampler = batches.sampler
        epochs = int(state.epoch or 0)
        for _epoch in range(epochs):
            next(iter(sampler))
        if isinstance(sampler, SeedableRandomSampler):
            sampler.set_epoch(epochs)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Request a checkpoint when one is due or a signal is pending, unless TRL holds completions."""
        last_step = 0 if self.last is None else step_of(self.last)
        due = self._has_signal() or state.global_step - last_step >= self.where.every
        held = trl_internals.has_buffered_completions(self.trainer)
        if due and state.global_step < state.max_steps and not held:
            self._check_space()
            control.should_save = True

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Cancel the checkpoint of a training that the guard has just ended; called before it is written."""
        if control.should_training_stop:
            control.should_save = False
        self.saving = control.should_save

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Complete the trainer's checkpoint and answer a pending signal."""
        path = self.where.folder / f"checkpoint-{state.global_step}"
        counters = trl_internals.counters(self.trainer)
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"parts": parts, "counters": counters}, path / self._parts_file())
        self.trainer.accelerator.wait_for_everyone()
        if args.should_save:
            seconds = self.earlier_seconds + time.perf_counter() - self._began
            write_marker(path, self.where.made_from, seconds, args.world_size)
            prune_checkpoints(self.where.folder)
        self.trainer.accelerator.wait_for_everyone()
        self.last = path
        self.saving = False
        if self._has_signal():
            signals.act_on_pending()

    def _parts_file(self) -> str:
        return f"parts-{self.trainer.args.process_index}.pt"

    def _has_signal(self) -> bool:
        """Whether a signal is pending in any process, so that all processes save, or none."""
        if self.trainer.args.world_size == 1:
            return signals.has_pending()
        accelerator = self.trainer.accelerator
        pending = torch.tensor([signals.has_pending()], device=accelerator.device)
        return bool(accelerator.gather(pending).any())

    def _check_space(self) -> None:
        """Raise Unavailable where a checkpoint does not fit on the disk."""
        if not self.trainer.args.should_save:
            return
        with explain_write_errors(self.where.folder):
            self.where.folder.mkdir(parents=True, exist_ok=True)
        if self.last is not None:
            needed = sum(size for size, _ in read_marker(self.last).files.values())
        else:  # the weights, and two moments of each trained weight
            needed = sum(
                p.numel() * p.element_size() * (3 if p.requires_grad else 1)
                for p in self.trainer.model.parameters()
            )
        remedy = (
            "free some space there and repeat the command, which continues from the last complete checkpoint"
        )
        check_disk(self.where.folder, needed, "a checkpoint", remedy)

"""What all trainings share: device and progress settings, saved policies, checkpoints, callbacks."""

import os
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import is_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from cme.records import read_json, write_json
from cme.runtime import distributed, signals
from cme.runtime.extras import require
from cme.runtime.files import sync_folder
from cme.training.checkpoint_files import WRITE_ERRORS, Checkpointing, write_error
from cme.training.checkpointing import Stateful, train_with_checkpoints
from cme.training.collapse import DivergenceCallback
from cme.training.history import TrainingResult, history_columns
from cme.training.trl_internals import use_one_gpu

C = TypeVar("C", bound=TrainingArguments)


@dataclass(frozen=True)
class TrainingJob:
    """How a training runs, whatever its method.

    Attributes:
        seed: Random seed of data order and sampling.
        folder: Where the trained policy is saved: weights and tokenizer.
        save_every: Steps between policies that are saved on the way, in `checkpoint_folder(folder, step)`; saving them
            does not change the training.
        lora: Arguments of peft.LoraConfig: adapters are trained instead of the weights, and merged into the saved
            policy. None trains all weights.
        checkpointing: Where to save checkpoints, from the newest of which the training resumes.
        callbacks: Callbacks that only watch; they run in the main process alone.
        quiet: Show no progress bar.
    """

    seed: int
    folder: Path
    save_every: int | None = None
    lora: Mapping[str, Any] | None = None
    checkpointing: Checkpointing | None = None
    callbacks: Sequence[TrainerCallback] = ()
    quiet: bool = False

    def arguments(self, kind: type[C], settings: Mapping[str, Any]) -> C:
        """TRL's configuration `kind` from fields by TRL's names.

        `per_device_train_batch_size` is that of all processes together. `bf16`, by default true on a GPU alone, keeps
        float32 weights and computes with them in bfloat16 (`accelerate`'s mixed precision). Gradient checkpointing
        follows the device. Raises ValueError as `cme.runtime.distributed.per_process_settings` does.
        """
        on_gpu = torch.cuda.is_available()
        settings = dict(settings)
        bf16 = settings.pop("bf16", None)
        config: C = kind(
            output_dir=str(self.folder if self.checkpointing is None else self.checkpointing.folder),
            seed=self.seed,
            bf16=on_gpu if bf16 is None else bf16,
            gradient_checkpointing=on_gpu,
            use_cpu=not on_gpu,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to=[],
            ddp_timeout=int(distributed.STEP_TIMEOUT.total_seconds()),
            disable_tqdm=self.quiet,
            **distributed.per_process_settings(settings, distributed.process_count()),
        )
        use_one_gpu(config)
        return config

    def adapters(self) -> Any:
        """The adapters as TRL's `peft_config`; None where all weights are trained."""
        if self.lora is None:
            return None
        require("peft", "lora", "trainer.lora")
        from peft import LoraConfig

        return LoraConfig(task_type="CAUSAL_LM", **self.lora)

    def run(
        self,
        trainer: Trainer,
        method_callbacks: Sequence[TrainerCallback] = (),
        parts: Mapping[str, Stateful] | None = None,
    ) -> TrainingResult:
        """Train and save the policy. Raises TrainingFailed for a loss or gradient that is not finite.

        Args:
            trainer: The trainer.
            method_callbacks: They run in every process, before those that only watch.
            parts: Objects with state to save in checkpoints, by name.
        """
        saver = [PolicySaver(trainer, self.save_every, self.folder)] if self.save_every else []
        watching = self.callbacks if distributed.process_index() == 0 else ()
        for callback in (DivergenceCallback(), *method_callbacks, *saver, *watching):
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)
        if not self.quiet:
            trainer.remove_callback(ProgressCallback)
            trainer.add_callback(ProgressBar())
        before = _sums(trainer.model)
        with signals.defer_signals():
            earlier = train_with_checkpoints(trainer, self.checkpointing, parts or {})
            save_policy(trainer, self.folder)
        steps = [entry for entry in trainer.state.log_history if "loss" in entry]
        # sharded weights are elsewhere; they are taken to have changed
        changed = distributed.is_sharded() or _sums(trainer.model) != before
        return TrainingResult(history_columns(steps), None, earlier, changed=changed)


@torch.no_grad()
def _sums(model: torch.nn.Module) -> list[tuple[float, float]]:
    """Sum and norm of each weight; if none differs, training changed nothing."""
    return [
        (float(weight.sum(dtype=torch.float64)), float(torch.linalg.vector_norm(weight, dtype=torch.float64)))
        for weight in model.parameters()
        if weight.is_floating_point()
    ]


def checkpoint_folder(folder: Path, step: int) -> Path:
    """The folder of the policy as it was after a step, within the folder of the final policy."""
    return folder / f"step-{step}"


class PolicySaver(TrainerCallback):  # type: ignore[misc]
    """Saves the policy every so many steps, except after the last, whose policy is the final one."""

    def __init__(self, trainer: Trainer, every: int, folder: Path) -> None:
        self.trainer, self.every, self.folder = trainer, every, folder

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save after a step that is a multiple of `every`."""
        if state.global_step % self.every or state.global_step >= state.max_steps:
            return
        target = checkpoint_folder(self.folder, state.global_step)
        partial = target.with_name(f"{target.name}.partial")
        main = self.trainer.is_world_process_zero()
        if main:
            shutil.rmtree(partial, ignore_errors=True)
        save_policy(self.trainer, partial)
        if main:
            shutil.rmtree(target, ignore_errors=True)  # of a training that resumed from before this step
            os.replace(partial, target)


def save_policy(trainer: Trainer, folder: Path) -> None:
    """Save the policy with its adapters merged, in the data type of training, synced to the disk.

    In training with `bf16` the optimizer updates float32 weights and the model computes with them in
    bfloat16; they are saved in bfloat16. All processes must call it; the main process writes. Raises Unavailable where
    it cannot be written.
    """
    main = trainer.is_world_process_zero()
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    policy = None
    if main and not sharded:  # outside of the try block: an error here does not come from the disk
        policy = trainer.model
        if is_peft_model(policy):  # in a copy, since unmerging would leave rounding errors in the weights
            policy = deepcopy(policy).merge_and_unload()
    try:
        if sharded:
            trainer.save_model(str(folder))  # gathers the weights from all processes
        if not main:
            return
        if policy is not None:
            policy.save_pretrained(folder)
        if trainer.args.bf16:
            _cast_to_bfloat16(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # it contains paths of this machine
        trainer.processing_class.save_pretrained(folder)
        sync_folder(folder)
    except WRITE_ERRORS as error:
        raise write_error(folder, error) from error


def _cast_to_bfloat16(folder: Path) -> None:
    """Rewrite the weights of a saved model in bfloat16."""
    for file in folder.glob("*.safetensors"):
        weights = {
            name: weight.to(torch.bfloat16) if weight.is_floating_point() else weight.clone()
            for name, weight in load_file(file).items()
        }
        partial = file.with_suffix(".partial")
        save_file(weights, partial, metadata={"format": "pt"})
        os.replace(partial, file)
    write_json(folder / "config.json", read_json(folder / "config.json") | {"dtype": "bfloat16"})


class ProgressBar(ProgressCallback):  # type: ignore[misc]
    """The trainer's progress bar, with the main metrics instead of one line of logs per step."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any, **_: Any) -> None:
        """Show a step's metrics after the bar."""
        if self.training_bar is not None and "loss" in logs:
            names = ("reward", "quality", "kl_from_start") if "reward" in logs else ("loss",)
            self.training_bar.set_postfix({k: f"{logs[k]:.2f}" for k in names if logs.get(k) is not None})

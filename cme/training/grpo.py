"""GRPO by TRL's GRPOTrainer with one trained reward, the monitors and the guard.

For a reward of one number a completion it is TRL's trainer, unmodified. A reward with values per token, or
with a floor under the group's standard deviation, has its advantages computed here (`cme.training.advantages`).

The guard ends a training that cannot learn any more (constant rewards, everything cut at the length limit,
too many completions without a reward) and keeps the policy as it is; rewards that are not finite raise.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer

from cme import TrainingFailed
from cme.checkpoints import Checkpoint
from cme.records import Prompt
from cme.rewards.base import Reward
from cme.runtime import distributed, signals
from cme.runtime.files import sync_folder
from cme.scoring.policy import SupportsTokenRewards
from cme.training import advantages as advantages_of
from cme.training import checkpointing as resume
from cme.training.checkpointing import Checkpointing
from cme.training.monitors import Monitors

# column of the record -> key in TRL's log
HISTORY = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "quality": "quality",
    "heldout": "heldout",
    "length": "completions/mean_length",
    "clipped": "completions/clipped_ratio",
    "repetition": "repetition",
    "entropy": "entropy",
    "kl": "kl_from_start",
    "unscored": "unscored",
    "accuracy": "accuracy",
    "majority_share": "majority_share",
    "label_accuracy": "label_accuracy",
    "semantic_entropy": "semantic_entropy",
    "loss": "loss",
    "grad_norm": "grad_norm",
}


@dataclass(frozen=True)
class CollapseGuard:
    """When training ends early: after `patience` steps in a row of which each alone would be a reason."""

    patience: int
    max_unscored: float


@dataclass(frozen=True)
class TrainingResult:
    """The history by column, and why training stopped before its last step (None if it did not).

    `earlier` is the seconds that a resumed training had taken up to the checkpoint that it went on from.
    """

    history: dict[str, list[float | None]]
    stopped: str | None
    earlier: float = 0.0


class _Watched:
    """The trained reward, checked on every call: finite or None, and the share of None logged.

    Completions that a reward says it has `left_out` on purpose do not count as unscored. A reward that looks at a
    `whole_batch` is given the completions of all processes, and this process's part of its values is taken.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.__name__ = reward.__name__
        self.values: list[float | None] = []

    def __call__(self, log_metric: Callable[[str, float], None], **columns: Any) -> list[float | None]:
        if self.reward.whole_batch:
            columns = {
                k: distributed.gather_rows(v) if isinstance(v, list) else v for k, v in columns.items()
            }
            values = self.reward(log_metric=log_metric, **columns)
            own = list(distributed.local_rows(values))
        else:
            own = self.reward(log_metric=log_metric, **columns)
            values = distributed.gather_rows(own)
        broken = [v for v in values if v is not None and not math.isfinite(v)]
        if broken:  # of any process, so that all of them end here
            raise TrainingFailed(
                f"reward {self.__name__!r} gave {broken[0]} for {len(broken)} of {len(values)} completions"
            )
        left_out = self.reward.left_out
        log_metric("unscored", (values.count(None) - left_out) / (len(values) - left_out))
        self.values = own
        return own


class _AdvantageTrainer(SupportsTokenRewards, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer with advantages from the reward's values of the same call, row by row."""

    def __init__(self, watched: _Watched, **settings: Any) -> None:
        super().__init__(**settings)
        self.watched = watched

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        batch["advantages"] = self._own_advantages(batch, len(inputs)).to(batch["advantages"].device)
        return batch

    def _own_advantages(self, batch: Mapping[str, Any], rows: int) -> torch.Tensor:
        """Advantages of this process's rows, (rows,) or (rows, T); a group may span processes."""
        reward = self.watched.reward
        group, scale = self.num_generations, self.args.scale_rewards == "group"
        floor = reward.std_floor
        if reward.granularity == "token":
            width = batch["completion_mask"].shape[1]
            values = self._everyones(_rectangle(reward.token_values, width))
            advantages = advantages_of.token_advantages(
                values, group, reward.normalize, floor=floor, scale=scale
            )
            advantages = advantages[:, :width]  # another process's completions may be longer
        else:
            values = self._everyones(_rectangle([torch.tensor([_or_nan(v)]) for v in self.watched.values], 1))
            advantages = advantages_of.sequence_advantages(values[:, 0], group, floor=floor, scale=scale)
        first = self.accelerator.process_index * rows
        return advantages[first : first + rows]

    def _everyones(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows (B, T) of all processes in order, NaN where another process's are longer."""
        rows = rows.to(self.accelerator.device)
        padded = self.accelerator.pad_across_processes(rows, dim=1, pad_index=float("nan"))
        return cast("torch.Tensor", self.accelerator.gather(padded))


def _rectangle(rows: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Rows of differing length as (B, width), float32, NaN behind each row's end."""
    full = torch.full((len(rows), width), float("nan"))
    for i, row in enumerate(rows):
        full[i, : len(row)] = row
    return full


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


class _GuardCallback(TrainerCallback):  # type: ignore[misc]
    def __init__(self, guard: CollapseGuard) -> None:
        self.guard = guard
        self.stopped: str | None = None
        self._in_a_row: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """The counts so far."""
        return dict(self._in_a_row)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self._in_a_row = dict(state)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Count the steps in a row that give each reason to stop."""
        if not logs or "reward" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            raise TrainingFailed(
                f"the gradient norm is {logs['grad_norm']} at step {state.global_step}: lower trainer.learning_rate"
            )
        if state.global_step >= state.max_steps:  # it is over anyway
            return
        reasons = {
            "every group's rewards were constant": logs.get("frac_reward_zero_std") == 1.0,
            "every completion was cut at the length limit": logs.get("completions/clipped_ratio") == 1.0,
            f"more than {self.guard.max_unscored:.0%} of completions were unscored": logs.get("unscored", 0.0)
            > self.guard.max_unscored,
        }
        for reason, holds in reasons.items():
            self._in_a_row[reason] = self._in_a_row.get(reason, 0) + 1 if holds else 0
            if self._in_a_row[reason] >= self.guard.patience and self.stopped is None:
                self.stopped = f"at step {state.global_step}: {reason} for {self.guard.patience} steps"
                control.should_training_stop = True


class PolicySaver(TrainerCallback):  # type: ignore[misc]
    """Saves the policy every so many steps, but for the last: that one is saved as the final policy."""

    def __init__(self, every: int, folder: Path) -> None:
        self.every = every
        self.folder = folder
        self._trainer: Trainer | None = None

    def bind(self, trainer: Trainer) -> None:
        """Learn from the trainer which policy to save."""
        self._trainer = trainer

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save after a step that is a multiple of `every`."""
        assert self._trainer is not None, "the saver needs bind(trainer)"
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            place = checkpoint_folder(self.folder, state.global_step)
            partial = place.with_name(f"{place.name}.partial")
            first = self._trainer.is_world_process_zero()
            if first:
                shutil.rmtree(partial, ignore_errors=True)
            save_policy(self._trainer, partial)
            if first:
                # what a training that was resumed from before this step has left there
                shutil.rmtree(place, ignore_errors=True)
                os.replace(partial, place)


def trainer_arguments(folder: Path, seed: int, quiet: bool) -> dict[str, Any]:
    """What every trainer here has alike, by the names of transformers.TrainingArguments."""
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "seed": seed,
        "bf16": on_gpu,
        "gradient_checkpointing": on_gpu,
        "use_cpu": not on_gpu,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "ddp_timeout": int(distributed.STEP_TIMEOUT.total_seconds()),
        "disable_tqdm": quiet,
    }


def use_one_gpu(config: TrainingArguments) -> None:
    """Keep a process to one GPU: transformers would train on all it sees (nn.DataParallel), a whole batch on each."""
    if config.n_gpu > 1:
        config._n_gpu = 1  # noqa: SLF001 - transformers has no argument for it


def lora_config(lora: Mapping[str, Any] | None) -> Any:
    """What TRL's trainers take as `peft_config`; None for None."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **lora)


def save_policy(trainer: Trainer, folder: Path) -> None:
    """Save the policy as it is, adapters merged: it is on the disk when this returns.

    All processes call, the main one writes. Raises Unavailable where it cannot be written.
    """
    main = trainer.is_world_process_zero()
    in_parts = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    policy = _whole(trainer.model) if main and not in_parts else None  # what fails here is not the disk
    try:
        if in_parts:
            trainer.save_model(str(folder))  # the weights are gathered from all processes
        if not main:
            return
        if policy is not None:
            policy.save_pretrained(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # it has paths of this machine
        trainer.processing_class.save_pretrained(folder)
        sync_folder(folder)
    except resume.WRITE_ERRORS as error:
        raise resume.write_error(folder, error) from error


def _whole(model: Any) -> PreTrainedModel:
    """The model with its adapters merged, if it has any.

    In a copy: taken out again, merged adapters would leave rounding errors in the weights.
    """
    return deepcopy(model).merge_and_unload() if is_peft_model(model) else model


def show_progress(trainer: Trainer, quiet: bool) -> None:
    """Give the trainer a bar in place of its lines of logs, or nothing at all."""
    trainer.remove_callback(PrinterCallback)
    if not quiet:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ProgressBar())


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the policy as it was after a step lies, beside the final policy in `folder`."""
    return folder / f"step-{step}"


def train_grpo(
    start: Checkpoint,
    prompts: Sequence[Prompt],
    reward: Reward,
    monitors: Monitors,
    settings: Mapping[str, Any],
    guard: CollapseGuard,
    *,
    seed: int,
    folder: Path,
    save_every: int | None = None,
    lora: Mapping[str, Any] | None = None,
    checkpointing: Checkpointing | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    quiet: bool = False,
) -> TrainingResult:
    """Train `start.model` in place by GRPO and save the policy to `folder`.

    With `save_every`, the policy as it is after every so many steps is saved too, in `milestone(folder, step)`:
    weights and tokenizer, loadable as the policy itself is, and training does not change. `settings` are
    GRPOConfig's own fields by TRL's names; `per_device_train_batch_size` is that of all processes of a launch
    together (`cme.runtime.distributed.per_process_settings`). Precision and gradient checkpointing follow the device.
    With `lora`, arguments of
    peft.LoraConfig, adapters are trained in place of the weights, and merged into them in what is saved. With
    `checkpointing`, training goes on from the newest whole checkpoint (`cme.training.checkpointing`), the reward, the
    monitors and
    the callbacks with it where they have `state_dict` and `load_state_dict`. Of several processes the main one alone
    has the `callbacks`, which watch. Raises TrainingFailed for rewards or
    gradients that are not finite, Interrupted for a signal, Unavailable where the disk takes no more.
    """
    callbacks = distributed.main_process_only(callbacks)
    output = folder if checkpointing is None else checkpointing.folder
    own = distributed.per_process_settings(settings, distributed.process_count())
    config = GRPOConfig(reward_weights=[1.0, 0.0], **trainer_arguments(output, seed, quiet), **own)
    use_one_gpu(config)
    watcher = _GuardCallback(guard)
    saver = PolicySaver(save_every, folder) if save_every else None
    watched = _Watched(reward)
    trainer = _trainer_for(watched, config.scale_rewards)(
        model=start.model,
        processing_class=start.tokenizer,
        reward_funcs=[watched, monitors],
        args=config,
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": p.text}], "answer": p.answer} for p in prompts]
        ),
        peft_config=lora_config(lora),
        callbacks=[watcher, *([saver] if saver else []), *callbacks],
    )
    show_progress(trainer, quiet)
    reward.bind(trainer)
    monitors.bind(trainer)
    if saver is not None:
        saver.bind(trainer)
    parts = {"guard": watcher, "reward": reward, "monitors": monitors, **name_callbacks(callbacks)}
    with signals.defer_signals():
        earlier = resume.train_with_checkpoints(trainer, checkpointing, parts)
        save_policy(trainer, folder)
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    return TrainingResult(history_columns(logs), watcher.stopped, earlier)


def name_callbacks(callbacks: Sequence[TrainerCallback]) -> dict[str, TrainerCallback]:
    """Callbacks by a name that is the same when the training is resumed."""
    return {f"{type(callback).__name__} {i}": callback for i, callback in enumerate(callbacks)}


def _trainer_for(watched: _Watched, scale_rewards: str) -> Callable[..., GRPOTrainer]:
    if watched.reward.granularity == "token" or watched.reward.std_floor > 0:
        if scale_rewards == "batch":
            raise ValueError(
                "scale_rewards=batch with a reward per token or a std_floor; it must be group or none"
            )
        return partial(_AdvantageTrainer, watched)
    return cast("Callable[..., GRPOTrainer]", GRPOTrainer)


def history_columns(logs: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """TRL's log as columns; a value that was not measured, or is not a number, is None."""

    def value(entry: Mapping[str, float], key: str) -> float | None:
        found = entry.get(key)
        return None if found is None or not math.isfinite(found) else float(f"{found:.6g}")

    return {
        column: [value(entry, key) for entry in logs]
        for column, key in HISTORY.items()
        if any(key in entry for entry in logs)
    }


class ProgressBar(ProgressCallback):  # type: ignore[misc]
    """The trainer's bar with the figures that matter, in place of a line of logs a step."""

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Show a step's figures behind the bar."""
        if self.training_bar is not None and logs and "loss" in logs:
            figures = ("reward", "quality", "kl_from_start") if "reward" in logs else ("loss",)
            shown = {k: f"{logs[k]:.2f}" for k in figures if logs.get(k) is not None}
            self.training_bar.set_postfix(shown)

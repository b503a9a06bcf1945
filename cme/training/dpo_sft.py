"""Training on responses that are there before it begins: DPO on preference pairs, SFT on another model's answers.

TRL's DPOTrainer and SFTTrainer. Rows are tokenized here, as everywhere (`cme.models.chat`): the prompt by itself, the
response's tokens behind it and its end of turn behind these; TRL would tokenize both together and guess the boundary.

Neither trainer samples from the policy, so the monitors that ride along in GRPO are given responses sampled for them.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerControl, TrainerState
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from cme import TrainingFailed
from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.models.generation import decode_generation, generate_ids
from cme.records import Generation, Preference, Prompt
from cme.runtime import distributed, signals
from cme.scoring.policy import gathered_weights
from cme.training import checkpointing as resume
from cme.training.checkpointing import Checkpointing
from cme.training.grpo import (
    PolicySaver,
    TrainingResult,
    history_columns,
    lora_config,
    name_callbacks,
    save_policy,
    show_progress,
    trainer_arguments,
    use_one_gpu,
)
from cme.training.monitors import Monitors


@dataclass(frozen=True)
class SampledMonitoring:
    """Monitors, and what they look at: sampled responses to `count` of `prompts`, other ones each time."""

    monitors: Monitors
    prompts: Sequence[Prompt]
    count: int
    max_new_tokens: int


def train_dpo(
    start: Checkpoint,
    reference: Checkpoint,
    preferences: Sequence[Preference],
    watch: SampledMonitoring,
    settings: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    save_every: int | None = None,
    lora: Mapping[str, Any] | None = None,
    checkpointing: Checkpointing | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    quiet: bool = False,
) -> TrainingResult:
    """Train `start.model` in place by DPO (Rafailov et al., arXiv 2305.18290) and save the policy to `folder`.

    `reference` is the frozen policy of its loss: the same checkpoint, loaded by itself. `settings` are DPOConfig's own
    fields by TRL's names; responses are cut at `max_length`. `save_every`, `lora`, `checkpointing`, and what else is
    raised: see `cme.training.grpo.train_grpo`. Raises ValueError where no pair has a prompt shorter than `max_length`,
    TrainingFailed for a loss or gradients that are not finite.
    """
    output = folder if checkpointing is None else checkpointing.folder
    shared = distributed.per_process_settings(settings, distributed.process_count())
    config = DPOConfig(logging_nan_inf_filter=False, **trainer_arguments(output, seed, quiet), **shared)
    use_one_gpu(config)
    rows = []
    for preference in preferences:
        prompt = chat.prompt_ids(start.tokenizer, preference.prompt.text)
        row: dict[str, list[int]] = {"prompt_ids": prompt}
        for side in ("chosen", "rejected"):
            row[f"{side}_ids"] = response_row(start.tokenizer, getattr(preference, side), True)
        rows.append(row)
    data = _dataset([r for r in rows if len(r["prompt_ids"]) < config.max_length], config.max_length)
    trainer = _PairsTrainer(
        model=start.model,
        ref_model=None if lora else reference.model,  # with adapters it is the policy without them
        processing_class=start.tokenizer,
        args=config,
        train_dataset=data,
        peft_config=lora_config(lora),
    )
    return _trained(trainer, start, watch, seed, folder, save_every, checkpointing, callbacks, quiet)


def train_sft(
    start: Checkpoint,
    prompts: Sequence[Prompt],
    responses: Sequence[Generation],
    watch: SampledMonitoring,
    settings: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    save_every: int | None = None,
    lora: Mapping[str, Any] | None = None,
    checkpointing: Checkpointing | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    quiet: bool = False,
) -> TrainingResult:
    """Train `start.model` in place on one response to each prompt and save the policy to `folder`.

    The loss is the mean negative log-likelihood of the responses' tokens; a finished one has its end of turn among
    them, one that was cut off has not. Who gave them may have another tokenizer: their text counts. `settings` are
    SFTConfig's own fields; the rest is as in `train_dpo`.
    """
    limit = settings["max_length"]
    own = distributed.per_process_settings(settings, distributed.process_count()) | {
        "max_length": None
    }  # the rows are cut here
    output = folder if checkpointing is None else checkpointing.folder
    config = SFTConfig(logging_nan_inf_filter=False, **trainer_arguments(output, seed, quiet), **own)
    use_one_gpu(config)
    rows = []
    for asked, said in zip(prompts, responses, strict=True):
        prompt = chat.prompt_ids(start.tokenizer, asked.text)
        response = response_row(start.tokenizer, said.response, bool(said.finished))
        ids = [*prompt, *response][:limit]
        if len(prompt) < len(ids):
            rows.append({"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]})
    trainer = SFTTrainer(
        model=start.model,
        processing_class=start.tokenizer,
        args=config,
        train_dataset=_dataset(rows, limit),
        peft_config=lora_config(lora),
    )
    return _trained(trainer, start, watch, seed, folder, save_every, checkpointing, callbacks, quiet)


def response_row(tokenizer: PreTrainedTokenizerBase, text: str, finished: bool) -> list[int]:
    """A response's token ids, with the one that ends a turn where it is finished."""
    return [*chat.response_ids(tokenizer, text), *[int(tokenizer.eos_token_id)] * finished]


def _dataset(rows: list[dict[str, list[int]]], max_length: int) -> Dataset:
    if not rows:
        raise ValueError(
            f"max_length={max_length}: no row to train on has room for a response behind its prompt"
        )
    return Dataset.from_list(rows)


class _PairsTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on rows that are tokenized already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def _trained(
    trainer: Trainer,
    start: Checkpoint,
    watch: SampledMonitoring,
    seed: int,
    folder: Path,
    save_every: int | None,
    checkpointing: Checkpointing | None,
    callbacks: Sequence[TrainerCallback],
    quiet: bool,
) -> TrainingResult:
    watching = _Watching(trainer, watch, seed)
    trainer.add_callback(watching)
    if save_every:
        saver = PolicySaver(save_every, folder)
        saver.bind(trainer)
        trainer.add_callback(saver)
    callbacks = distributed.main_process_only(callbacks)
    for callback in callbacks:
        trainer.add_callback(callback)
    show_progress(trainer, quiet)
    with signals.defer_signals():
        earlier = resume.train_with_checkpoints(
            trainer, checkpointing, {"monitors": watch.monitors, **name_callbacks(callbacks)}
        )
        save_policy(trainer, folder)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return TrainingResult(history_columns(logs), None, earlier)


class _Watching(TrainerCallback):  # type: ignore[misc]
    """Measures the policy before a step when that is due, and ends a training that has diverged."""

    def __init__(self, trainer: Trainer, watch: SampledMonitoring, seed: int) -> None:
        self.trainer, self.watch, self.seed = trainer, watch, seed
        self.found: dict[int, dict[str, float]] = {}
        watch.monitors.bind(trainer)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the policy as it is before the step."""
        if self.watch.monitors.due(state.global_step, state.max_steps):
            self.found[state.global_step + 1] = self._measured(f"{self.seed}:{state.global_step}")

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Put what was measured beside the step's loss; raise TrainingFailed where that is not finite."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"the {name.replace('grad_', 'gradient ')} is {value} at step {state.global_step}: "
                    "lower trainer.learning_rate"
                )
        entry = state.log_history[-1]
        entry.pop("entropy", None)  # TRL's own is over the data's tokens, not over the policy's
        entry.update(self.found.get(state.global_step, {}))

    def _measured(self, seed: str) -> dict[str, float]:
        rng, tokenizer = random.Random(seed), self.trainer.processing_class
        asked = rng.sample(list(self.watch.prompts), min(self.watch.count, len(self.watch.prompts)))
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        model.eval()
        with gathered_weights(self.trainer):
            ids = generate_ids(
                model,
                tokenizer,
                [p.text for p in asked],
                max_new_tokens=self.watch.max_new_tokens,
                batch_size=self.watch.count,
                temperature=1.0,
                seed=rng.getrandbits(32),
            )
        said = [decode_generation(tokenizer, own, tokenizer.eos_token_id) for own in ids]
        found = {
            "completions/mean_length": sum(map(len, ids)) / len(ids),
            "completions/clipped_ratio": sum(not g.finished for g in said) / len(said),
        }
        self.watch.monitors(
            [[{"role": "user", "content": p.text}] for p in asked],
            [[{"role": "assistant", "content": g.response}] for g in said],
            ids,
            log_metric=found.__setitem__,
        )
        model.train()
        return found

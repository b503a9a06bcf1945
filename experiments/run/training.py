"""Training a policy by the configured trainer, and the policy's responses.

Best-of-n trains no policy: its responses are chosen from samples of the untrained model.
"""

import os
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cme.checkpoints import load, stop_ids
from cme.evaluation import best_of_n
from cme.models import chat
from cme.models.generation import generate
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt, explain_write_errors, read_json, sync_path, write_json
from cme.rewards.base import Reward
from cme.runtime import distributed, signals
from cme.runtime.secrets import redact
from cme.training import dpo_sft
from cme.training.checkpoint_files import MARKER, Checkpointing, write_marker
from cme.training.collapse import CollapseGuard
from cme.training.distillation import train_distillation
from cme.training.grpo import train_grpo
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trackers import TrackedRun, Tracking
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import cell, inputs, provenance
from experiments.run.evaluation import load_generator, load_scorer, respond
from experiments.run.store import Store, cached_generations, cached_stage

NOT_TRL = ("method", "pairs", "sampling", "monitor_prompts", "lora")
"""Fields of the trainers that TRL does not have."""
TRACKED_NAMES = ("family.name", "regime", "verifier.name", "experiment.name")
"""Settings that a tracker shows although they do not change results."""


def train_policy(run: Run, store: Store, until_written: ExitStack, log: GenerationLog) -> dict[str, Any]:
    """Train a policy and save it; return its history, why it stopped, why it is untrained, and a launch's processes.

    An interrupted training continues from its last checkpoint, and the policies that it saved on the way stay. All
    processes of a launch train; the main process does the rest. During training, a signal that comes too late for a
    checkpoint waits until `until_written` closes, so that the result is written first. Best-of-n has an empty history.
    """
    if run.trainer.method == "best_of_n":
        return {"history": {}, "stopped": None, "seconds": {}}
    partial = store.trained / "checkpoint.partial"
    if not any(store.resume.glob(f"*/{MARKER}")):
        shutil.rmtree(partial, ignore_errors=True)
    elif not partial.exists() and store.checkpoint.exists():
        # the policy was complete, but the result of its training was not written
        os.replace(store.checkpoint, partial)
    with explain_write_errors(partial):
        partial.mkdir(parents=True, exist_ok=True)
    digest = _digest_inputs(run, store, log.made_from)
    checkpointing = Checkpointing(store.resume, run.checkpoint.every, digest)
    until_written.enter_context(signals.defer_signals())
    result = distributed.run_in_all(_train, run, store, partial, checkpointing)
    # without the files of the saved checkpoints, which are deleted later
    write_marker(partial, log.made_from, 0.0, 1, files="*")
    shutil.rmtree(store.checkpoint, ignore_errors=True)
    os.replace(partial, store.checkpoint)
    sync_path(store.trained)
    log.seconds = result.earlier
    trained: dict[str, Any] = {
        "history": result.history,
        "stopped": result.stopped,
        "seconds": dict(result.seconds),
    }
    if result.untrained:
        trained["untrained"] = result.untrained
    if distributed.process_count() > 1:
        trained["processes"] = distributed.process_count()
    return trained


def _digest_inputs(run: Run, store: Store, weights: str) -> str:
    """Digest of what the checkpoints of a training depend on besides the run's settings.

    The verifier's answers are generated here, before the processes of a launch read them.
    """
    targets: list[Any] = []
    if run.trainer.method == "dpo":
        targets = inputs.load_preferences(run)
    elif run.trainer.method == "sft":
        targets = verifier_answers(run, store)
    versions = [version(package) for package in ("torch", "transformers", "trl")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompts = provenance.fingerprint(inputs.training_prompts(run))
    return identity.digest([weights, prompts, [asdict(row) for row in targets], versions, device])


def _train(run: Run, store: Store, folder: Path, checkpointing: Checkpointing) -> TrainingResult:
    """Train by the configured method, in every process of a launch."""
    cell.quiet_libraries()
    start, prompts, settings = load_generator(run), inputs.training_prompts(run), trl_settings(run)
    evaluated = inputs.evaluation_prompts(run)
    chat.refuse_unknown_prompts(start.tokenizer, [p.conversation for p in [*prompts, *evaluated]])
    heldout = run.heldout_verifier
    monitors = Monitors(
        load_generator(run),
        None if heldout is None else load_scorer(heldout, run.scoring, run.chat_template.verifier),
        run.load_oracle(),
        run.monitor_every,
        run.data.answers,
    )
    job = TrainingJob(
        seed=run.seed,
        folder=folder,
        save_every=run.selection.every,
        lora=run.values["trainer"]["lora"],
        checkpointing=checkpointing,
        callbacks=callbacks(run, store),
    )
    if run.trainer.method == "grpo":
        guard = CollapseGuard(**run.values["guard"])
        return train_grpo(start, prompts, _reward(run, store), monitors, settings, guard, job)
    if run.trainer.method == "distillation":
        template = run.chat_template.verifier
        verifier = load(run.verifier.checkpoint, dtype=run.scoring.dtype, chat_template_kwargs=template)
        return train_distillation(start, verifier, prompts, monitors, settings, job)
    monitoring = dpo_sft.SampledMonitoring(
        monitors, prompts, run.trainer.monitor_prompts, run.evaluation.max_new_tokens
    )
    if run.trainer.method == "dpo":
        pairs, reference = inputs.load_preferences(run), load_generator(run)
        return dpo_sft.train_dpo(start, reference, pairs, monitoring, settings, job)
    return dpo_sft.train_sft(start, prompts, verifier_answers(run, store), monitoring, settings, job)


def _reward(run: Run, store: Store) -> Reward:
    """The configured reward, which keeps its files with the training."""
    reward: Reward = run.reward.instantiate()
    reward.keep_in(store.trained)
    return reward


def trl_settings(run: Run) -> dict[str, Any]:
    """The fields of the trainer that TRL has."""
    return {name: value for name, value in run.values["trainer"].items() if name not in NOT_TRL}


def verifier_answers(run: Run, store: Store) -> list[Generation]:
    """The verifier's answers to the training prompts, which runs share."""
    name, prompts = run.verifier.checkpoint, inputs.training_prompts(run)

    def make(log: GenerationLog) -> list[Generation]:
        verifier = load(name, dtype=run.scoring.dtype, chat_template_kwargs=run.chat_template.verifier)
        return generate(
            verifier.model,
            verifier.tokenizer,
            [p.conversation for p in prompts],
            seed=run.seed,
            progress="verifier answers",
            log=log,
            **run.values["trainer"]["sampling"],
        )

    path = store.verifiers / f"{identity.verifier_answers_id(run)}.json"
    origin = [inputs.resolve_weights([name]), [asdict(p) for p in prompts]]
    return cached_generations(path, origin, make)[0]


def policy_responses(run: Run, store: Store, prompts: list[Prompt], log: GenerationLog) -> list[Generation]:
    """The policy's responses to the evaluation prompts; those of best-of-n are chosen from `store.samples`."""
    if run.trainer.method != "best_of_n":
        policy = load(str(store.checkpoint))
        return respond(run, policy, prompts, progress="policy answers", log=log)

    def make(samples_log: GenerationLog) -> list[list[dict[str, Any]]]:
        groups = best_of_n.sample_with_rewards(
            load_generator(run),
            prompts,
            _reward(run, store),
            run.trainer.num_generations,
            seed=run.seed,
            end_ids=stop_ids(run.generator, run.evaluation.stop),
            progress="samples of the start",
            log=samples_log,
            **run.values["trainer"]["sampling"],
        )
        return [[asdict(sample) for sample in group] for group in groups]

    stage = cached_stage(store.samples, [asdict(p) for p in prompts], make)
    return [best_of_n.best_response(group) for group in _sample_groups(stage.value)]


def _sample_groups(value: list[list[dict[str, Any]]]) -> list[list[best_of_n.Sample]]:
    """The samples of each prompt, from the value of the stage that made them."""
    return [[best_of_n.Sample(Generation(**s["generation"]), s["reward"]) for s in group] for group in value]


def recorded_samples(store: Store) -> list[list[best_of_n.Sample]]:
    """The samples of best-of-n by prompt; empty for other trainers."""
    return _sample_groups(read_json(store.samples)["value"]) if store.samples.exists() else []


def warnings(store: Store) -> list[str]:
    """Warnings for the record: about a tracker that failed, and about samples of best-of-n without a reward."""
    found, groups = _tracker_warnings(store), recorded_samples(store)
    without = sum(all(s.reward is None for s in group) for group in groups)
    if unscored := sum(s.reward is None for group in groups for s in group):
        found.append(
            f"best-of-n: {unscored} of {sum(map(len, groups))} samples have no reward; {without} of {len(groups)} "
            "prompts have none with one, and their first sample is the response"
        )
    return found


def without_choice(store: Store) -> str | None:
    """Why best-of-n chose nothing; None if a prompt has samples with different rewards, and for other trainers."""
    groups = recorded_samples(store)
    has_choice = any(len({sample.reward for sample in group}) > 1 for group in groups)
    return None if has_choice or not groups else "no prompt has samples with different rewards"


def callbacks(run: Run, store: Store) -> list[TrainerCallback]:
    """The callbacks that watch a training: its progress file and, if one is configured, its tracker.

    A tracker knows the training by its id, since another run may resume it.
    """
    if run.tracker == "none":
        return [ProgressFile(store.folder)]
    project = "cme" if run.experiment.name is None else f"cme-{run.experiment.name}"
    tracked = TrackedRun(store.trained.name, project, tracked_settings(run), store.trained)

    def warn(text: str) -> None:
        print(f"warning: {store.folder.name}: {text}", file=sys.stderr)
        if text not in (known := _tracker_warnings(store)):
            write_json(store.tracking, [*known, text])

    return [ProgressFile(store.folder), Tracking(run.tracker, tracked, warn)]


def tracked_settings(run: Run) -> dict[str, Any]:
    """The names of a run, and its settings that change the training, by their dotted paths and without secrets."""
    names = {path: value for path, value in identity.flatten(run.settings).items() if path in TRACKED_NAMES}
    settings = names | identity.training_fields(run)
    return {path: redact(v) if isinstance(v, str) else v for path, v in settings.items()}


def _tracker_warnings(store: Store) -> list[str]:
    return list(read_json(store.tracking)) if store.tracking.exists() else []


class ProgressFile(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes the step and the mean seconds per step of this process to `progress.json`, at most once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = self._wrote = time.monotonic()
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began, self._first = time.monotonic(), state.global_step
        self._write(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the step, if the last write is a second ago or the training is over."""
        if time.monotonic() - self._wrote >= 1 or state.global_step == state.max_steps:
            self._write(state)

    def _write(self, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        self._wrote = time.monotonic()
        steps = state.global_step - self._first
        seconds = round((self._wrote - self._began) / steps, 3) if steps else None
        cell.report_progress(self._folder, "training", state.global_step, state.max_steps, seconds)

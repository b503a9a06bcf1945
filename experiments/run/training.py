"""Training a policy by the configured trainer: GRPO on the reward, DPO on pairs, or SFT on the verifier's answers.

Best-of-n trains no policy: its responses are chosen from samples of the untrained model.
"""

import os
import shutil
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cme.checkpoints import load, stop_ids
from cme.models import chat
from cme.models.generation import generate
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt, explain_write_errors, read_json
from cme.runtime import distributed, signals
from cme.runtime.files import sync_path
from cme.training import best_of_n, dpo_sft
from cme.training.checkpoint_files import MARKER, Checkpointing, write_marker
from cme.training.collapse import CollapseGuard
from cme.training.grpo import train_grpo
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import inputs, tracking
from experiments.run.evaluation import load_scorer, respond
from experiments.run.stage import (
    fingerprint,
    locked_cached_stage,
    quiet_libraries,
    resolve_weights,
)
from experiments.run.store import Store

NOT_TRL = ("method", "pairs", "sampling", "monitor_prompts", "lora")
"""Fields of the trainers that TRL does not have."""


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
    checkpointing = Checkpointing(
        store.resume, run.checkpoint.every, _digest_inputs(run, store, log.made_from)
    )
    until_written.enter_context(signals.defer_signals())
    result = distributed.run_in_all(_train, run, store, partial, checkpointing)
    # without the files of the saved checkpoints, which are deleted later
    write_marker(partial, log.made_from, 0.0, 1, files="*")
    shutil.rmtree(store.checkpoint, ignore_errors=True)
    os.replace(partial, store.checkpoint)
    sync_path(store.trained)
    log.seconds = result.earlier
    rare: dict[str, Any] = {"untrained": result.untrained} if result.untrained else {}
    if distributed.process_count() > 1:
        rare["processes"] = distributed.process_count()
    return {
        "history": result.history,
        "stopped": result.stopped,
        "seconds": dict(result.seconds),
        **rare,
    }


def _digest_inputs(run: Run, store: Store, weights: str) -> str:
    """Digest of what the checkpoints of a training depend on besides the run's settings.

    A training resumes only from checkpoints with the same digest. The verifier's answers are generated here, before the
    processes of a launch read them.
    """
    targets: list[Any] = []
    if run.trainer.method == "dpo":
        targets = inputs.load_preferences(run)
    elif run.trainer.method == "sft":
        targets = verifier_answers(run, store)
    versions = [version(package) for package in ("torch", "transformers", "trl")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompts = fingerprint(inputs.training_prompts(run))
    return identity.digest([weights, prompts, [asdict(row) for row in targets], versions, device])


def _train(run: Run, store: Store, folder: Path, checkpointing: Checkpointing) -> TrainingResult:
    """Train by the configured method, in every process of a launch."""
    quiet_libraries()
    start, prompts, settings = (
        load(run.generator, chat_template_kwargs=run.chat_template.generator),
        inputs.training_prompts(run),
        trl_settings(run),
    )
    evaluated = inputs.evaluation_prompts(run)
    chat.refuse_unknown_prompts(start.tokenizer, [p.conversation for p in [*prompts, *evaluated]])
    heldout = identity.heldout_verifier(run)
    monitors = Monitors(
        load(run.generator, chat_template_kwargs=run.chat_template.generator),
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
        callbacks=tracking.callbacks(run, store),
    )
    if run.trainer.method == "grpo":
        guard = CollapseGuard(**run.values["guard"])
        return train_grpo(start, prompts, run.reward.instantiate(), monitors, settings, guard, job)
    monitoring = dpo_sft.SampledMonitoring(
        monitors, prompts, run.trainer.monitor_prompts, run.evaluation.max_new_tokens
    )
    if run.trainer.method == "dpo":
        preferences = inputs.load_preferences(run)
        return dpo_sft.train_dpo(
            start,
            load(run.generator, chat_template_kwargs=run.chat_template.generator),
            preferences,
            monitoring,
            settings,
            job,
        )
    return dpo_sft.train_sft(start, prompts, verifier_answers(run, store), monitoring, settings, job)


def trl_settings(run: Run) -> dict[str, Any]:
    """The fields of the trainer that TRL has."""
    return {name: value for name, value in run.values["trainer"].items() if name not in NOT_TRL}


def verifier_answers(run: Run, store: Store) -> list[Generation]:
    """The verifier's answers to the training prompts, which runs share."""
    prompts = inputs.training_prompts(run)

    def make(log: GenerationLog) -> list[dict[str, Any]]:
        verifier = load(
            run.verifier.checkpoint, dtype=run.scoring.dtype, chat_template_kwargs=run.chat_template.verifier
        )
        answers = generate(
            verifier.model,
            verifier.tokenizer,
            [p.conversation for p in prompts],
            seed=run.seed,
            progress="verifier answers",
            log=log,
            **run.values["trainer"]["sampling"],
        )
        return [asdict(g) for g in answers]

    origin = [resolve_weights([run.verifier.checkpoint]), [asdict(p) for p in prompts]]
    stage = locked_cached_stage(store.verifier_answers(run), origin, make)
    return [Generation(**g) for g in stage["value"]]


def policy_responses(run: Run, store: Store, prompts: list[Prompt], log: GenerationLog) -> list[Generation]:
    """The policy's responses to the evaluation prompts; those of best-of-n are chosen from `store.samples`."""
    if run.trainer.method != "best_of_n":
        policy = load(str(store.checkpoint))
        return respond(run, policy, prompts, progress="policy answers", log=log)

    def make(samples_log: GenerationLog) -> list[list[dict[str, Any]]]:
        groups = best_of_n.sample_with_rewards(
            load(run.generator, chat_template_kwargs=run.chat_template.generator),
            prompts,
            run.reward.instantiate(),
            run.trainer.num_generations,
            seed=run.seed,
            end_ids=stop_ids(run.generator, run.evaluation.stop),
            progress="samples of the start",
            log=samples_log,
            **run.values["trainer"]["sampling"],
        )
        return [[asdict(sample) for sample in group] for group in groups]

    stage = locked_cached_stage(store.samples, [asdict(p) for p in prompts], make)
    return [best_of_n.best_response(group) for group in sample_groups(stage["value"])]


def sample_groups(value: list[list[dict[str, Any]]]) -> list[list[best_of_n.Sample]]:
    """The samples of each prompt, from the value of the stage that made them."""
    return [[best_of_n.Sample(Generation(**s["generation"]), s["reward"]) for s in group] for group in value]


def warnings(store: Store) -> list[str]:
    """Warnings for the record: about a tracker that failed, and about samples of best-of-n without a reward."""
    found = tracking.warnings(store)
    if not store.samples.exists():
        return found
    groups = sample_groups(read_json(store.samples)["value"])
    without = sum(all(s.reward is None for s in group) for group in groups)
    unscored = sum(s.reward is None for group in groups for s in group)
    if unscored:
        found.append(
            f"best-of-n: {unscored} of {sum(map(len, groups))} samples have no reward; {without} of {len(groups)} "
            "prompts have none with one, and their first sample is the response"
        )
    return found

"""What `trainer` does with the start: GRPO on the reward, DPO on pairs, SFT on the verifier's answers, or best-of-n.

GRPO, DPO and SFT train a policy, which answers the evaluation prompts. Best-of-n trains none: what it chooses from
samples of the start are its answers.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from cme.checkpoints import load
from cme.models.generation import generate
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt, explain_write_errors, read_json
from cme.runtime import distributed, signals
from cme.runtime.files import sync_path
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier
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
from experiments.run.progress import ProgressFile
from experiments.run.responses import respond
from experiments.run.stage import (
    cached_stage,
    fingerprint,
    locked_cached_stage,
    quiet_libraries,
    resolve_weights,
)
from experiments.run.store import Store

# Fields of the trainers that are ours and not TRL's.
OURS = ("method", "pairs", "sampling", "monitor_prompts", "lora")


def train_policy(config: Run, store: Store, until_written: ExitStack, log: GenerationLog) -> dict[str, Any]:
    """Train a policy and save it, by the configured method; of one that trains nothing, an empty history.

    A training that was interrupted goes on from its last checkpoint; the policies that it saved on the way are there
    still. All processes of a launch train, the main one does the rest. Once it trains, a signal that comes too late for
    a checkpoint waits as long as `until_written` is open: what the training gave is to be written first.
    """
    if config.trainer.method == "best_of_n":
        return {"history": {}, "stopped": None}
    partial = store.folder / "checkpoint.partial"
    if not any(store.resume.glob(f"*/{MARKER}")):
        shutil.rmtree(partial, ignore_errors=True)
    elif not partial.exists() and store.checkpoint.exists():
        # the policy was whole, but not yet what is written of its training
        os.replace(store.checkpoint, partial)
    with explain_write_errors(partial):
        partial.mkdir(parents=True, exist_ok=True)
    made_from = _made_from(config, store, log.made_from)
    where = Checkpointing(store.resume, config.checkpoint.every, made_from)
    until_written.enter_context(signals.defer_signals())
    result = distributed.run_in_all(_trained, config, store, partial, where)
    # not the files of the saved checkpoints, which are deleted
    write_marker(partial, log.made_from, 0.0, 1, files="*")
    shutil.rmtree(store.checkpoint, ignore_errors=True)
    os.replace(partial, store.checkpoint)
    sync_path(store.folder)
    log.seconds = result.earlier
    launched = {"processes": distributed.process_count()} if distributed.process_count() > 1 else {}
    return {"history": result.history, "stopped": result.stopped, **launched}


def _made_from(config: Run, store: Store, weights: str) -> str:
    """A digest of what a training's checkpoints are made from beside the run's settings: where that is another now,
    they are of another training.

    The verifier's answers are made here, before the processes of a launch ask for them.
    """
    taught: list[Any] = []
    if config.trainer.method == "dpo":
        taught = inputs.load_preferences(config)
    elif config.trainer.method == "sft":
        taught = _verifier_said(config, store)
    versions = [version(package) for package in ("torch", "transformers", "trl")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompts = fingerprint(training_prompts(config))
    return identity.digest([weights, prompts, [asdict(row) for row in taught], versions, device])


def _trained(config: Run, store: Store, folder: Path, where: Checkpointing) -> TrainingResult:
    quiet_libraries()
    method: Callable[..., TrainingResult] = {"grpo": _grpo, "dpo": _dpo, "sft": _sft}[config.trainer.method]
    return method(config, store, folder, where)


def policy_responses(
    config: Run, store: Store, prompts: list[Prompt], log: GenerationLog
) -> list[Generation]:
    """The policy's responses to the evaluation prompts; best-of-n's are chosen from what is in `store.samples`."""
    if config.trainer.method != "best_of_n":
        policy = load(str(store.checkpoint))
        return respond(config, policy, prompts, progress="policy answers", log=log)
    asked = [asdict(p) for p in prompts]
    sampled = cached_stage(store.samples, asked, lambda own: _samples(config, prompts, own))
    return [best_of_n.best_response(group) for group in _groups(sampled["value"])]


def warnings(store: Store) -> list[str]:
    """What the record should say of a tracker that failed, and of the samples that best-of-n chose from."""
    return [*tracking.warnings(store), *_sample_warnings(store)]


def _sample_warnings(store: Store) -> list[str]:
    if not store.samples.exists():
        return []
    groups = _groups(read_json(store.samples)["value"])
    blind = sum(all(s.reward is None for s in group) for group in groups)
    unscored = sum(s.reward is None for group in groups for s in group)
    if not unscored:
        return []
    return [
        f"best-of-n: {unscored} of {sum(map(len, groups))} samples have no reward; {blind} of {len(groups)} prompts "
        "have none with one, and their first sample is the response"
    ]


def _grpo(config: Run, store: Store, folder: Path, where: Checkpointing) -> TrainingResult:
    return train_grpo(
        load(config.generator),
        training_prompts(config),
        config.reward.instantiate(),
        _monitors(config),
        _settings(config),
        CollapseGuard(config.guard.patience, config.guard.max_unscored),
        _job(config, store, folder, where),
    )


def _dpo(config: Run, store: Store, folder: Path, where: Checkpointing) -> TrainingResult:
    return dpo_sft.train_dpo(
        load(config.generator),
        load(config.generator),
        inputs.load_preferences(config),
        _watch(config),
        _settings(config),
        _job(config, store, folder, where),
    )


def _sft(config: Run, store: Store, folder: Path, where: Checkpointing) -> TrainingResult:
    return dpo_sft.train_sft(
        load(config.generator),
        training_prompts(config),
        _verifier_said(config, store),
        _watch(config),
        _settings(config),
        _job(config, store, folder, where),
    )


def _verifier_said(config: Run, store: Store) -> list[Generation]:
    """The verifier's answers to the training prompts, which it gives once."""
    prompts = training_prompts(config)
    made_of = [resolve_weights([config.verifier.checkpoint]), [asdict(p) for p in prompts]]
    said = locked_cached_stage(
        store.verifier_answers(config), made_of, lambda own: _verifier_answers(config, prompts, own)
    )
    return [Generation(**g) for g in said["value"]]


def _callbacks(config: Run, store: Store) -> list[TrainerCallback]:
    """What rides along with a training and changes nothing in it."""
    return [ProgressFile(store.folder), *tracking.callbacks(config, store)]


def training_prompts(config: Run) -> list[Prompt]:
    """The prompts that a cell trains on."""
    return inputs.load_prompts(config.data, config.data.train_split, config.data.train_prompts)


def _settings(config: Run) -> dict[str, Any]:
    """The fields of the trainer that are TRL's."""
    return {name: value for name, value in config.values["trainer"].items() if name not in OURS}


def _job(config: Run, store: Store, folder: Path, where: Checkpointing) -> TrainingJob:
    return TrainingJob(
        seed=config.seed,
        folder=folder,
        save_every=config.selection.every,
        lora=config.values["trainer"]["lora"],
        checkpointing=where,
        callbacks=_callbacks(config, store),
    )


def _monitors(config: Run) -> Monitors:
    return Monitors(
        load(config.generator),
        _heldout(config),
        config.load_oracle(),
        config.monitor_every,
        config.data.answers,
    )


def _watch(config: Run) -> dpo_sft.SampledMonitoring:
    return dpo_sft.SampledMonitoring(
        _monitors(config),
        training_prompts(config),
        config.trainer.monitor_prompts,
        config.evaluation.max_new_tokens,
    )


def _heldout(config: Run) -> Verifier | None:
    name = identity.heldout_verifier(config)
    return None if name is None else load_scorer(config, name)


def load_scorer(config: Run, name: str) -> Verifier:
    """A checkpoint as a scorer within the limits of scoring."""
    checkpoint = load(name, dtype=config.scoring.dtype)
    return Verifier(
        checkpoint.tokenizer,
        TokenScorer(checkpoint.model, batch_tokens=config.scoring.batch_tokens),
        max_prompt_tokens=config.scoring.max_prompt_tokens,
        max_response_tokens=config.scoring.max_response_tokens,
    )


def _verifier_answers(config: Run, prompts: list[Prompt], log: GenerationLog) -> list[dict[str, Any]]:
    verifier = load(config.verifier.checkpoint, dtype=config.scoring.dtype)
    said = generate(
        verifier.model,
        verifier.tokenizer,
        [p.text for p in prompts],
        seed=config.seed,
        progress="verifier answers",
        log=log,
        **config.values["trainer"]["sampling"],
    )
    return [asdict(g) for g in said]


def _samples(config: Run, prompts: list[Prompt], log: GenerationLog) -> list[list[dict[str, Any]]]:
    groups = best_of_n.sample_with_rewards(
        load(config.generator),
        prompts,
        config.reward.instantiate(),
        config.trainer.num_generations,
        seed=config.seed,
        progress="samples of the start",
        log=log,
        **config.values["trainer"]["sampling"],
    )
    return [[asdict(sample) for sample in group] for group in groups]


def _groups(value: list[list[dict[str, Any]]]) -> list[list[best_of_n.Sample]]:
    return [[best_of_n.Sample(Generation(**s["generation"]), s["reward"]) for s in group] for group in value]

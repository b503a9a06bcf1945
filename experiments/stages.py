"""One run, stage by stage: train, generate, judge, record. A stage made from the same inputs is not run again."""

import logging
import os
import shutil
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from cme.checkpoints import load
from cme.judging import VerdictLog
from cme.monitors import Monitors
from cme.outputs import write_outputs
from cme.records import (
    Generation,
    Pair,
    Prompt,
    RunRecord,
    Verdict,
    read_record,
    write_record,
)
from cme.scorer import Scorer
from cme.token_scorer import TokenScorer
from cme.training import Guard, train
from experiments import accuracy, capabilities, grid, identity, judging, selection
from experiments.measure import NotIndependent, measured
from experiments.parts import fingerprint, made, once, weights_of
from experiments.responses import respond
from experiments.store import Store, environment, selection_owed
from experiments.validate import validate


def run(config: DictConfig) -> Path:
    """Run whatever stages of a cell are not done yet; return the path of its record."""
    store = Store.of(config)
    if store.done:
        _say(config, "done before, skipped")
        return store.record
    quiet_libraries()
    store.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(store.folder / ".lock"):
        before = read_record(store.record) if store.record.exists() else None
        if before is not None and not selection_owed(before):
            _judge_again(config, store, before)
            return store.record
        weights = weights_of(grid.checkpoints([config]))
        data = config.data
        prompts = {
            "training": grid.prompts(data, data.train_split, data.train_prompts),
            "evaluation": grid.prompts(data, data.eval_split, data.eval_prompts),
        }
        trained = once(store.training, weights, lambda: _train(config, store))
        pairs, generate_seconds = _pairs(config, store, weights, trained["value"])
        verdicts, judge_seconds = _judge(config, store, pairs)
        seconds = {"train": trained["seconds"], "generate": generate_seconds, "judge": judge_seconds}
        chosen = selection.run(config, store, weights, trained["value"], pairs)
        kept = capabilities.run(config, store, weights, trained["value"])
        record = RunRecord(
            run_id=store.folder.name,
            scale=config.scale.name,
            family=config.family.name,
            regime=config.regime.name,
            reward=config.reward.name,
            verifier=config.verifier.name,
            judge=config.judge.name,
            seed=config.seed,
            experiment=config.experiment.name,
            generator_checkpoint=config.generator,
            verifier_checkpoint=identity.verifier_name(config),
            heldout_checkpoint=identity.heldout(config),
            config=identity.settings(config),
            environment=environment()
            | {f"weights of {name}": folder for name, folder in weights.items()}
            | {f"sha256 of {use} prompts": fingerprint(found) for use, found in prompts.items()},
            warnings=validate(config)
            + judging.cut(config, pairs)
            + (chosen.warnings if chosen else [])
            + _unanswered(config, prompts),
            stopped=trained["value"]["stopped"],
            history=trained["value"]["history"],
            pairs=pairs,
            verdicts=verdicts,
            seconds=seconds
            | ({"select": chosen.seconds} if chosen else {})
            | ({"capabilities": kept.seconds} if kept else {}),
            trajectory=chosen.trajectory if chosen else None,
            selected=chosen.selected if chosen else None,
            capabilities=kept.scores if kept else None,
            accuracy=accuracy.measured(config, pairs, chosen.selected if chosen else None),
        )
        _write_outputs(store, record)
        write_record(store.record, _with_surprisal(record))
        if not selection_owed(record):
            selection.tidy(config, store)
    return store.record


def _unanswered(config: DictConfig, prompts: dict[str, list[Prompt]]) -> list[str]:
    """Warnings for the record: how many prompts lack a gold answer, in data whose only truth these are."""
    if config.data.answers == "none" or config.data.oracle is not None:
        return []
    lacking = {use: sum(p.answer is None for p in found) for use, found in prompts.items()}
    return [
        f"{n} of {len(prompts[use])} {use} prompts have no gold answer and are no part of any accuracy"
        for use, n in lacking.items()
        if n
    ]


def _train(config: DictConfig, store: Store) -> dict[str, Any]:
    _say(config, f"training {config.generator} with reward {config.reward.name}")
    start = load(config.generator)
    monitors = Monitors(
        load(config.generator),
        _heldout(config),
        made(config.data.oracle),
        config.monitor_every,
        config.data.answers,
    )
    unfinished = store.folder / "checkpoint.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    result = train(
        start,
        grid.prompts(config.data, config.data.train_split, config.data.train_prompts),
        made(config.reward),
        monitors,
        cast("dict[str, Any]", OmegaConf.to_container(config.trainer)),
        Guard(config.guard.patience, config.guard.max_unscored),
        seed=config.seed,
        folder=unfinished,
        save_every=config.selection.every,
    )
    shutil.rmtree(store.checkpoint, ignore_errors=True)
    os.replace(unfinished, store.checkpoint)
    if result.stopped:
        _say(config, f"training stopped {result.stopped}")
    return asdict(result)


def _heldout(config: DictConfig) -> Scorer | None:
    name = identity.heldout(config)
    return None if name is None else scorer_of(config, name)


def scorer_of(config: DictConfig, name: str) -> Scorer:
    """A checkpoint as a scorer within the limits of scoring."""
    checkpoint = load(name, dtype=config.scoring.dtype)
    return Scorer(
        checkpoint.tokenizer,
        TokenScorer(checkpoint.model, batch_tokens=config.scoring.batch_tokens),
        score_end_of_turn=True,
        max_prompt_tokens=config.scoring.max_prompt_tokens,
        max_response_tokens=config.scoring.max_response_tokens,
    )


def _pairs(
    config: DictConfig, store: Store, weights: dict[str, str], trained: dict[str, Any]
) -> tuple[list[Pair], float]:
    """Start's and policy's responses to the evaluation prompts, side by side, and the seconds they took."""
    prompts = grid.prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    asked = [asdict(p) for p in prompts]

    def answers(checkpoint: str, who: str) -> list[dict[str, Any]]:
        return [asdict(r) for r in respond(config, load(checkpoint), prompts, progress=f"{who} answers")]

    store.start.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{store.start}.lock"):
        origin = [weights[config.generator], asked]
        before = once(store.start, origin, lambda: answers(config.generator, "start"))
    after = once(store.generations, [trained, asked], lambda: answers(str(store.checkpoint), "policy"))
    pairs = [
        Pair(p.id, p.text, p.reference, Generation(**b), Generation(**a), p.answer)
        for p, b, a in zip(accuracy.asked(config, prompts), before["value"], after["value"], strict=True)
    ]
    return pairs, before["seconds"] + after["seconds"]


def _write_outputs(store: Store, record: RunRecord) -> None:
    """What the run's models said, in AlpacaEval's format."""
    said = {"start": [p.start for p in record.pairs], "policy": [p.policy for p in record.pairs]}
    if record.selected is not None and record.selected.responses is not None:
        said["selected"] = record.selected.responses
    for who, responses in said.items():
        rows = [(p.prompt, r.response) for p, r in zip(record.pairs, responses, strict=True)]
        generator = {"start": record.generator_checkpoint, "policy": record.run_id}.get(
            who, f"{record.run_id} ({who})"
        )
        write_outputs(store.folder / f"{who}_outputs.json", rows, generator, record.config["data"]["name"])


def _with_surprisal(record: RunRecord) -> RunRecord:
    """The record with its responses' surprisal, or with a warning where the independent model is none."""
    try:
        return measured(record)
    except NotIndependent as error:
        return replace(record, warnings=[*record.warnings, f"surprisal was not measured: {error}"])


def _judge(config: DictConfig, store: Store, pairs: list[Pair]) -> tuple[list[Verdict], float]:
    """The verdicts and the seconds they took, both over all restarts."""
    with VerdictLog(store.verdicts) as log:
        verdicts = judging.verdicts(config.judge, pairs, config.evaluation.both_orders, log)
    unscored = [v.reason for v in verdicts if v.outcome == "unscored"]
    if unscored:
        _say(
            config,
            f"{len(unscored)} of {len(verdicts)} verdicts are unscored, the first because {unscored[0]}; "
            "the same command tries them again",
        )
    return verdicts, log.seconds


def _judge_again(config: DictConfig, store: Store, record: RunRecord) -> None:
    """Judge what a record has unscored, from the pairs in it, and put what is scored now into the record."""
    owed = {v.prompt_id for v in record.verdicts if v.outcome == "unscored"}
    before = VerdictLog(store.verdicts).seconds
    found, seconds = _judge(config, store, [p for p in record.pairs if p.prompt_id in owed])
    again = {(v.judge, v.prompt_id, v.policy_first): v for v in found}
    verdicts = [
        again[v.judge, v.prompt_id, v.policy_first] if v.outcome == "unscored" else v for v in record.verdicts
    ]
    if verdicts != record.verdicts:
        took = record.seconds["judge"] + seconds - before
        write_record(
            store.record, replace(record, verdicts=verdicts, seconds=record.seconds | {"judge": took})
        )


def _say(config: DictConfig, what: str) -> None:
    print(f"{identity.run_id(config)}: {what}", file=sys.stderr)


def quiet_libraries() -> None:
    """Keep libraries' advice out of the output; errors still show."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate)\.")

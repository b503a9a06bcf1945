"""One run, stage by stage: train, generate, judge, record. A stage made from the same inputs is not run again."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from cme.checkpoints import load
from cme.data.alpaca_format import write_outputs
from cme.judges.pairwise import VerdictLog
from cme.models.generation_log import GenerationLog
from cme.records import (
    Generation,
    Pair,
    Prompt,
    RunRecord,
    Verdict,
    read_record,
    write_record,
)
from cme.runtime import signals
from cme.runtime.files import delete_partial_files
from cme.training.checkpoint_files import find_damage
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.validation import validate
from experiments.run import (
    accuracy,
    capabilities,
    comparators,
    inputs,
    judging,
    preparation,
    selection,
    state,
    training,
)
from experiments.run.responses import respond, verifier_responses
from experiments.run.stage import (
    cached_stage,
    fingerprint,
    locked_cached_stage,
    quiet_libraries,
    resolve_weights,
)
from experiments.run.store import Store, environment, selection_pending
from experiments.run.surprisal import NotIndependent, measure_surprisal


@signals.handle_signals()
def run(config: Run) -> Path:
    """Run whatever stages of a cell are not done yet; return the path of its record."""
    store = Store.of(config)
    if store.done:
        _say(config, "done before, skipped")
        return store.record
    quiet_libraries()
    with state.run_lock(store.folder):
        delete_partial_files(store.folder)
        before = read_record(store.record) if store.record.exists() else None
        if before is not None and not selection_pending(before):
            _judge_again(config, store, before)
            comparators.compare(config, store)
            return store.record
        weights = resolve_weights(preparation.checkpoint_names([config]))
        data = config.data
        prompts = {
            "training": inputs.load_prompts(data, data.train_split, data.train_prompts),
            "evaluation": inputs.load_prompts(data, data.eval_split, data.eval_prompts),
        }
        if store.training.exists() and (damage := find_damage(store.checkpoint)):
            _say(config, f"{store.checkpoint} is damaged ({damage}): it is trained again")
            store.training.unlink()
        with ExitStack() as until_written:
            trained = cached_stage(store.training, weights, partial(_train, config, store, until_written))
        shutil.rmtree(store.resume, ignore_errors=True)
        pairs, generate_seconds = _pairs(config, store, weights, trained["value"], prompts["evaluation"])
        verifier_says, verifier_seconds = verifier_responses(config, store, weights, prompts["evaluation"])
        verdicts, judge_seconds = _judge(config, store, pairs)
        seconds = {
            "train": trained["seconds"],
            "generate": generate_seconds + verifier_seconds,
            "judge": judge_seconds,
        }
        state.report_stage(store.folder, "evaluating saved checkpoints and capabilities")
        chosen = selection.run(config, store, weights, trained["value"], pairs)
        kept = capabilities.run(config, store, weights, trained["value"])
        record = RunRecord(
            run_id=store.folder.name,
            scale=config.scale.name,
            family=config.family.name,
            regime=config.regime,
            reward=identity.method(config),
            verifier=config.verifier.name,
            judge=config.judge.name,
            seed=config.seed,
            experiment=config.experiment.name,
            generator_checkpoint=config.generator,
            verifier_checkpoint=identity.verifier_name(config),
            heldout_checkpoint=identity.heldout_verifier(config),
            config=config.settings,
            neutral=identity.neutral_fields(config),
            environment=environment()
            | {name: str(n) for name, n in trained["value"].items() if name == "processes"}
            | {f"weights of {name}": folder for name, folder in weights.items()}
            | {f"sha256 of {use} prompts": fingerprint(found) for use, found in prompts.items()},
            warnings=validate(config)
            + judging.truncation_warnings(config, pairs)
            + training.warnings(store)
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
            accuracy=accuracy.measure_accuracy(config, pairs, chosen.selected if chosen else None),
            verifier_responses=verifier_says,
            verifier_quality=_quality(config, prompts["evaluation"], verifier_says),
        )
        _write_outputs(store, record)
        state.report_stage(store.folder, "measuring surprisal")
        write_record(store.record, _with_surprisal(record))
        if not selection_pending(record):
            selection.delete_saved_checkpoints(config, store)
        comparators.compare(config, store)
    return store.record


def _unanswered(config: Run, prompts: dict[str, list[Prompt]]) -> list[str]:
    """Warnings for the record: how many prompts lack a gold answer, in data whose only truth these are."""
    if config.data.answers == "none" or config.data.oracle is not None:
        return []
    lacking = {use: sum(p.answer is None for p in found) for use, found in prompts.items()}
    return [
        f"{n} of {len(prompts[use])} {use} prompts have no gold answer and are no part of any accuracy"
        for use, n in lacking.items()
        if n
    ]


def _train(config: Run, store: Store, until_written: ExitStack, log: GenerationLog) -> dict[str, Any]:
    _say(config, f"{config.generator} by {identity.method(config)}")
    state.report_stage(store.folder, "training")
    result = training.train_policy(config, store, until_written, log)
    if result["stopped"]:
        _say(config, f"training stopped {result['stopped']}")
    return result


def _pairs(
    config: Run,
    store: Store,
    weights: dict[str, str],
    trained: dict[str, Any],
    prompts: list[Prompt],
) -> tuple[list[Pair], float]:
    """Start's and policy's responses to the evaluation prompts, side by side, and the seconds they took."""
    asked = [asdict(p) for p in prompts]
    state.report_stage(store.folder, "answering")

    def start_answers(log: GenerationLog) -> list[dict[str, Any]]:
        start = load(config.generator)
        said = respond(config, start, prompts, progress="start answers", log=log)
        return [asdict(r) for r in said]

    def policy_answers(log: GenerationLog) -> list[dict[str, Any]]:
        return [asdict(r) for r in training.policy_responses(config, store, prompts, log)]

    before = locked_cached_stage(store.start, [weights[config.generator], asked], start_answers)
    after = cached_stage(store.generations, [trained, asked], policy_answers)
    pairs = [
        Pair(p.id, p.text, p.reference, Generation(**b), Generation(**a), p.answer)
        for p, b, a in zip(
            accuracy.judged_prompts(config, prompts), before["value"], after["value"], strict=True
        )
    ]
    return pairs, before["seconds"] + after["seconds"]


def _quality(config: Run, prompts: Sequence[Prompt], said: Sequence[Generation] | None) -> list[float] | None:
    """The true quality (0-1) of responses to the prompts; None without an oracle or without responses."""
    oracle = config.load_oracle()
    if oracle is None or said is None:
        return None
    return [
        round(oracle(p.text, r.response, bool(r.finished)), 6) for p, r in zip(prompts, said, strict=True)
    ]


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
        return measure_surprisal(record)
    except NotIndependent as error:
        return replace(record, warnings=[*record.warnings, f"surprisal was not measured: {error}"])


def _judge(
    config: Run, store: Store, pairs: list[Pair], known: list[Verdict] | None = None
) -> tuple[list[Verdict], float]:
    """The verdicts, of the known ones only those judged again that are unscored, and the seconds over all restarts."""
    both_orders = config.evaluation.both_orders
    state.report_stage(store.folder, "judging")
    with VerdictLog(store.verdicts) as log:
        verdicts = (
            judging.collect_verdicts(config.judge, pairs, both_orders, log)
            if known is None
            else judging.rejudge(config.judge, pairs, both_orders, log, known)
        )
    unscored = [v.reason for v in verdicts if v.outcome == "unscored"]
    if unscored:
        _say(
            config,
            f"{len(unscored)} of {len(verdicts)} verdicts are unscored, the first because {unscored[0]}; "
            "the same command tries them again",
        )
    return verdicts, log.seconds


def _judge_again(config: Run, store: Store, record: RunRecord) -> None:
    """Judge what a record has unscored, from the pairs in it, and put what is scored now into the record."""
    before = VerdictLog(store.verdicts).seconds
    verdicts, seconds = _judge(config, store, record.pairs, record.verdicts)
    if verdicts != record.verdicts:
        took = record.seconds["judge"] + seconds - before
        write_record(
            store.record, replace(record, verdicts=verdicts, seconds=record.seconds | {"judge": took})
        )


def _say(config: Run, what: str) -> None:
    print(f"{config.run_id}: {what}", file=sys.stderr)

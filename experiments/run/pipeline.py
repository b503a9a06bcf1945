"""One run, stage by stage: train, generate, judge, record. A stage is not repeated for the same inputs.

Runs that differ in their evaluation alone share one training, and the responses of its policies to the same prompts. A
run that differs from a finished one in its judge alone only judges.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from cme.data.alpaca_format import write_outputs
from cme.judges.pairwise import VerdictLog
from cme.models.generation_log import GenerationLog
from cme.records import Pair, Prompt, RunRecord, Verdict, read_record, write_record
from cme.runtime import signals
from cme.runtime.files import delete_partial_files
from cme.training.checkpoint_files import find_damage
from experiments.config import identity
from experiments.config.reward_validation import judged_comparisons
from experiments.config.runs import Run
from experiments.config.validation import validate
from experiments.run import (
    comparators,
    evaluation,
    inputs,
    judging,
    preparation,
    provenance,
    selection,
    training,
)
from experiments.run.cell import is_done, is_held, print_message, quiet_libraries, report_progress, run_lock
from experiments.run.store import Stage, Store, cached_generations, cached_stage, count_unscored_selection
from experiments.run.surprisal import NotIndependent, measure_surprisal
from experiments.run.twin import find_twin, take_over


@signals.handle_signals()
def run(run: Run) -> Path:
    """Run the stages of a cell that are not done; return the path of its record."""
    store = Store(run)
    if is_done(run):
        print_message(run, "done before, skipped")
        return store.record
    quiet_libraries()
    with run_lock(store.folder):
        delete_partial_files(store.folder)
        record = read_record(store.record) if store.record.exists() else None
        if record is None or count_unscored_selection(record):
            twin = find_twin(run, store)
            made = _make_record(run, store) if twin is None else _judge_twin(run, store, twin)
            if record is not None:
                made = replace(made, further_judges=record.further_judges)
            _write_outputs(store, made)
            write_record(store.record, made)
            if twin is None and not count_unscored_selection(made):
                selection.release_saved_checkpoints(run, store)
        else:
            _judge_again(run, store, record)
        comparators.compare(run, store)
    return store.record


def _make_record(run: Run, store: Store) -> RunRecord:
    """Run all stages, each unless its file is there."""
    weights = inputs.resolve_weights(preparation.checkpoint_names([run]), run.served_verifiers)
    spots = evaluation.blind_spots(run)  # first, because it refuses unknown families
    environment = provenance.record_origin(run, weights, run.capabilities.tasks)
    prompts = {"training": inputs.training_prompts(run), "evaluation": inputs.evaluation_prompts(run)}
    digests = {use: provenance.fingerprint(own) for use, own in prompts.items()}
    without_gold = _missing_answer_warnings(run, prompts)
    for warning in without_gold:
        print_message(run, warning)
    selection.keep_saved_checkpoints(run, store)
    trained = _finish_training(run, store, weights, digests["training"])
    result = {name: value for name, value in trained.value.items() if name != "seconds"}
    pairs, generate_seconds = _generate_pairs(run, store, weights, result, prompts["evaluation"])
    by_verifier, verifier_seconds = evaluation.verifier_responses(run, store, weights, prompts["evaluation"])
    verdicts, judge_seconds = _judge(run, store, pairs)
    report_progress(store.folder, "evaluating saved checkpoints and capabilities")
    warnings = validate(run) + judging.truncation_warnings(run, pairs) + training.warnings(store)
    chosen = selection.select_checkpoint(run, store, weights, result, pairs)
    capabilities, capability_seconds = evaluation.measure_capabilities(run, store, weights, result, pairs)
    environment["training"] = store.trained.name
    if "processes" in result:
        environment["processes"] = str(result["processes"])
    seconds = {
        "train": trained.seconds,
        **{f"train: {part}": seconds for part, seconds in trained.value["seconds"].items()},
        "generate": generate_seconds + verifier_seconds,
        "judge": judge_seconds,
        "select": chosen.seconds,
        "capabilities": capability_seconds,
    }
    record = RunRecord(
        run_id=run.run_id,
        scale=run.scale.name,
        family=run.family.name,
        regime=run.regime,
        reward=run.method,
        verifier=run.verifier.name,
        judge=run.judge.name,
        seed=run.seed,
        experiment=run.experiment.name,
        generator_checkpoint=run.generator,
        verifier_checkpoint=run.verifier_name,
        heldout_checkpoint=run.heldout_verifier,
        config=run.settings,
        decoding=evaluation.greedy_decoding(run),
        neutral=identity.neutral_fields(run),
        environment=environment | {f"sha256 of {use} prompts": digest for use, digest in digests.items()},
        warnings=[*warnings, *chosen.warnings, *without_gold],
        stopped=result["stopped"],
        untrained=result.get("untrained") or training.without_choice(store),
        reward_judging=judging.reward_spending(run, store.reward_verdicts),
        history=result["history"],
        pairs=pairs,
        verdicts=verdicts,
        seconds={stage: took for stage, took in seconds.items() if took is not None},
        trajectory=chosen.trajectory,
        selected=chosen.selected,
        capabilities=capabilities or None,
        accuracy=evaluation.measure_accuracy(run, pairs, chosen.selected),
        grades=evaluation.grade_pairs(run, pairs, comparators.cut_starts(run, pairs), chosen.selected),
        blind_spots=spots,
        verifier_responses=by_verifier,
        verifier_quality=evaluation.true_quality(run, prompts["evaluation"], by_verifier),
    )
    report_progress(store.folder, "measuring surprisal")
    try:
        return measure_surprisal(record)
    except NotIndependent as error:
        return replace(record, warnings=[*record.warnings, f"surprisal was not measured: {error}"])


def _finish_training(run: Run, store: Store, weights: Mapping[str, str], prompts: str) -> Stage:
    """The stage of the run's training, which is done unless a run with the same training has done it.

    Of several runs at the same time, one trains. A killed training continues in whichever of its runs comes next.
    """

    def train(log: GenerationLog) -> dict[str, Any]:
        overrides = f": {' '.join(run.overrides)}" if run.overrides else ""
        print_message(run, f"{run.generator} by {run.method}{overrides}")
        for path, judge in run.reward_judges.items():
            print_message(
                run, f"{path}={judge.name} makes at most {judged_comparisons(run, path)} comparisons"
            )
        report_progress(store.folder, "training")
        result = training.train_policy(run, store, until_written, log)
        if result["stopped"]:
            print_message(run, f"training stopped {result['stopped']}")
        return result

    if is_held(store.trained):
        report_progress(store.folder, "waiting for its training by another run")
    with run_lock(store.trained):
        if store.training.exists() and (damage := find_damage(store.checkpoint)):
            print_message(run, f"{store.checkpoint} is damaged ({damage}): it is trained again")
            store.training.unlink()
        used = {name: weights[name] for name in inputs.training_checkpoints(run)}
        with ExitStack() as until_written:
            trained = cached_stage(store.training, {"weights": used, "prompts": prompts}, train)
        shutil.rmtree(store.resume, ignore_errors=True)
    return trained


def _generate_pairs(
    run: Run, store: Store, weights: Mapping[str, str], result: dict[str, Any], prompts: list[Prompt]
) -> tuple[list[Pair], float]:
    """Start's and policy's responses to the evaluation prompts side by side, and the seconds that they took."""
    report_progress(store.folder, "answering")
    rows = [asdict(p) for p in prompts]
    start, start_seconds = evaluation.cached_responses(
        run,
        store.start,
        [weights[run.generator], rows],
        partial(evaluation.load_generator, run),
        prompts,
        progress="untrained model's responses",
    )
    policy, policy_seconds = cached_generations(
        store.generations, [result, rows], partial(training.policy_responses, run, store, prompts)
    )
    return evaluation.make_pairs(run, prompts, start, policy), start_seconds + policy_seconds


def _judge(
    run: Run, store: Store, pairs: list[Pair], known: Sequence[Verdict] = ()
) -> tuple[list[Verdict], float]:
    """The verdicts, and the seconds of judging over all attempts. Of `known` verdicts, scored ones stay."""
    report_progress(store.folder, "judging")
    with VerdictLog(store.verdicts) as log:
        verdicts = judging.collect_verdicts(run.judge, pairs, run.evaluation.both_orders, log, known)
    if message := judging.unscored_message(verdicts):
        print_message(run, message)
    return verdicts, log.seconds


def _judge_again(run: Run, store: Store, record: RunRecord) -> None:
    """Judge the unscored verdicts of a record again, from its pairs, and update the record."""
    earlier = VerdictLog(store.verdicts).seconds
    verdicts, seconds = _judge(run, store, record.pairs, record.verdicts)
    if verdicts != record.verdicts:
        total = record.seconds | {"judge": record.seconds["judge"] + seconds - earlier}
        write_record(store.record, replace(record, verdicts=verdicts, seconds=total))


def _judge_twin(run: Run, store: Store, twin: RunRecord) -> RunRecord:
    """The record of the run with its judge's verdicts on the responses of its twin."""
    print_message(run, f"judges the responses of {twin.run_id}, which differs in its judge alone")
    record = take_over(run, store, twin, preparation.checkpoint_names([run]))
    verdicts, seconds = _judge(run, store, record.pairs)
    selected = record.selected
    if selected is not None and selected.responses is not None:
        both = zip(record.pairs, selected.responses, strict=True)
        on_selected, seconds = _judge(run, store, [replace(p, policy=response) for p, response in both])
        selected = replace(selected, verdicts=on_selected)
    return replace(record, selected=selected, verdicts=verdicts, seconds=record.seconds | {"judge": seconds})


def _missing_answer_warnings(run: Run, prompts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """How many prompts lack a gold answer that can be read, for data that has no other truth."""
    if run.data.answers == "none" or run.data.oracle is not None:
        return []
    without = "have no gold answer that can be read and are left out of every accuracy"
    return [
        f"{lacking} of {len(own)} {use} prompts {without}"
        for use, own in prompts.items()
        if (lacking := sum(p.answer is None for p in own))
    ]


def _write_outputs(store: Store, record: RunRecord) -> None:
    """Write the responses of start, policy and selected checkpoint in AlpacaEval's format."""
    outputs = {
        "start": (record.generator_checkpoint, [p.start for p in record.pairs]),
        "policy": (record.run_id, [p.policy for p in record.pairs]),
    }
    if record.selected is not None and record.selected.responses is not None:
        outputs["selected"] = (f"{record.run_id} (selected)", record.selected.responses)
    for name, (generator, responses) in outputs.items():
        rows = [(p.prompt, r.response) for p, r in zip(record.pairs, responses, strict=True)]
        write_outputs(store.folder / f"{name}_outputs.json", rows, generator, record.config["data"]["name"])

"""One run, stage by stage: train, generate, judge, record. A stage is not repeated for the same inputs.

Runs that differ in their evaluation alone share one training, and the responses of its policies to the same prompts. A
run that differs from a finished one in its judge alone only judges.
"""

import shutil
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
from cme.records import Generation, Pair, Prompt, RunRecord, Verdict, read_record, write_record
from cme.runtime import signals
from cme.runtime.files import delete_partial_files
from cme.training.checkpoint_files import find_damage
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.validation import validate
from experiments.run import comparators, evaluation, inputs, judging, preparation, selection, state, training
from experiments.run.stage import (
    cached_stage,
    fingerprint,
    locked_cached_stage,
    print_message,
    quiet_libraries,
    resolve_weights,
)
from experiments.run.store import Store, count_unscored_selection, environment
from experiments.run.surprisal import NotIndependent, measure_surprisal
from experiments.run.twin import find_twin, pairs_of_selected, take_over


@signals.handle_signals()
def run(run: Run) -> Path:
    """Run the stages of a cell that are not done; return the path of its record."""
    store = Store.of(run)
    if store.done:
        print_message(run, "done before, skipped")
        return store.record
    quiet_libraries()
    with state.run_lock(store.folder):
        delete_partial_files(store.folder)
        record = read_record(store.record) if store.record.exists() else None
        if record is None or count_unscored_selection(record):
            twin = find_twin(run, store)
            if twin is None:
                _make_record(run, store)
            else:
                _judge_twin(run, store, twin)
            if record is not None and record.further_judges:
                made = read_record(store.record)
                write_record(store.record, replace(made, further_judges=record.further_judges))
        else:
            _judge_again(run, store, record)
        comparators.compare(run, store)
    return store.record


def _make_record(run: Run, store: Store) -> None:
    """Run all stages, each unless its file is there, and write the record."""
    weights = resolve_weights(preparation.checkpoint_names([run]), identity.served_verifiers(run))
    spots = evaluation.blind_spots(run)  # first, because it refuses unknown families
    data_commits = inputs.record_commits(run, weights, run.capabilities.tasks)
    prompts = {"training": inputs.training_prompts(run), "evaluation": inputs.evaluation_prompts(run)}
    without_gold = missing_answer_warnings(run, prompts)
    for warning in without_gold:
        print_message(run, warning)
    selection.keep_saved_checkpoints(run, store)
    trained = _finish_training(run, store, weights, fingerprint(prompts["training"]))
    result = {name: value for name, value in trained["value"].items() if name != "seconds"}
    pairs, generate_seconds = _generate_pairs(run, store, weights, result, prompts["evaluation"])
    by_verifier, verifier_seconds = evaluation.verifier_responses(run, store, weights, prompts["evaluation"])
    verdicts, judge_seconds = _judge(run, store, pairs)
    state.report_stage(store.folder, "evaluating saved checkpoints and capabilities")
    chosen = selection.select_checkpoint(run, store, weights, result, pairs)
    capabilities = evaluation.measure_capabilities(run, store, weights, result)
    constrained = inputs.constraints(run, [pair.prompt for pair in pairs])
    by_constraints = evaluation.score_constraints(run.data.name, constrained, pairs) if constrained else []
    selected = chosen.selected if chosen else None
    record = RunRecord(
        run_id=store.folder.name,
        scale=run.scale.name,
        family=run.family.name,
        regime=run.regime,
        reward=identity.method(run),
        verifier=run.verifier.name,
        judge=run.judge.name,
        seed=run.seed,
        experiment=run.experiment.name,
        generator_checkpoint=run.generator,
        verifier_checkpoint=identity.verifier_name(run),
        heldout_checkpoint=identity.heldout_verifier(run),
        config=run.settings,
        decoding=evaluation.greedy_decoding(run),
        neutral=identity.neutral_fields(run),
        environment=environment()
        | {"training": store.trained.name}
        | ({"processes": str(result["processes"])} if "processes" in result else {})
        | data_commits
        | {f"weights of {name}": folder for name, folder in weights.items()}
        | {f"sha256 of {use} prompts": fingerprint(own) for use, own in prompts.items()},
        warnings=validate(run)
        + judging.truncation_warnings(run, pairs)
        + training.warnings(store)
        + (chosen.warnings if chosen else [])
        + without_gold,
        stopped=result["stopped"],
        untrained=result.get("untrained"),
        history=result["history"],
        pairs=pairs,
        verdicts=verdicts,
        seconds={
            "train": trained["seconds"],
            **{f"train: {part}": seconds for part, seconds in trained["value"]["seconds"].items()},
            "generate": generate_seconds + verifier_seconds,
            "judge": judge_seconds,
        }
        | ({"select": chosen.seconds} if chosen else {})
        | ({"capabilities": capabilities[1]} if capabilities else {}),
        trajectory=chosen.trajectory if chosen else None,
        selected=selected,
        capabilities=[*by_constraints, *(capabilities[0] if capabilities else [])] or None,
        accuracy=evaluation.measure_accuracy(run, pairs, selected),
        grades=evaluation.grade_pairs(run, pairs, selected),
        blind_spots=spots,
        verifier_responses=by_verifier,
        verifier_quality=evaluation.true_quality(run, prompts["evaluation"], by_verifier),
    )
    _write_outputs(store, record)
    state.report_stage(store.folder, "measuring surprisal")
    try:
        measured = measure_surprisal(record)
    except NotIndependent as error:
        measured = replace(record, warnings=[*record.warnings, f"surprisal was not measured: {error}"])
    write_record(store.record, measured)
    if not count_unscored_selection(record):
        selection.release_saved_checkpoints(run, store)


def _finish_training(run: Run, store: Store, weights: dict[str, str], prompts: str) -> dict[str, Any]:
    """The stage of the run's training, which is done unless a run with the same training has done it.

    Runs of one training at the same time: one trains, and the others wait for it. A killed training continues in
    whichever of its runs comes next.
    """
    if state.is_held(store.trained):
        state.report_stage(store.folder, "waiting for its training by another run")
    with state.run_lock(store.trained):
        delete_partial_files(store.trained, store.training.name)
        if store.training.exists() and (damage := find_damage(store.checkpoint)):
            print_message(run, f"{store.checkpoint} is damaged ({damage}): it is trained again")
            store.training.unlink()
        made_from = {
            "weights": {name: weights[name] for name in inputs.training_checkpoints(run)},
            "prompts": prompts,
        }
        with ExitStack() as until_written:
            trained = cached_stage(store.training, made_from, partial(_train, run, store, until_written))
        shutil.rmtree(store.resume, ignore_errors=True)
    return trained


def _train(run: Run, store: Store, until_written: ExitStack, log: GenerationLog) -> dict[str, Any]:
    overrides = f": {' '.join(run.overrides)}" if run.overrides else ""
    print_message(run, f"{run.generator} by {identity.method(run)}{overrides}")
    state.report_stage(store.folder, "training")
    result = training.train_policy(run, store, until_written, log)
    if result["stopped"]:
        print_message(run, f"training stopped {result['stopped']}")
    return result


def _generate_pairs(
    run: Run, store: Store, weights: dict[str, str], result: dict[str, Any], prompts: list[Prompt]
) -> tuple[list[Pair], float]:
    """Start's and policy's responses to the evaluation prompts side by side, and the seconds that they took."""
    state.report_stage(store.folder, "answering")
    rows = [asdict(p) for p in prompts]

    def policy_answers(log: GenerationLog) -> list[dict[str, Any]]:
        return [asdict(r) for r in training.policy_responses(run, store, prompts, log)]

    start, seconds = evaluation.cached_responses(
        run,
        store.start,
        [weights[run.generator], rows],
        partial(load, run.generator, chat_template_kwargs=run.chat_template.generator),
        prompts,
        progress="start answers",
    )
    policy = locked_cached_stage(store.generations, [result, rows], policy_answers)
    after = [Generation(**g) for g in policy["value"]]
    return evaluation.make_pairs(run, prompts, start, after), seconds + policy["seconds"]


def _judge(
    run: Run, store: Store, pairs: list[Pair], known: Sequence[Verdict] = ()
) -> tuple[list[Verdict], float]:
    """The verdicts, and the seconds of judging over all attempts. Of `known` verdicts, scored ones stay."""
    state.report_stage(store.folder, "judging")
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


def _judge_twin(run: Run, store: Store, twin: RunRecord) -> None:
    """Judge the responses of the run's twin, and write the record."""
    print_message(run, f"judges the responses of {twin.run_id}, which differs in its judge alone")
    record = take_over(run, store, twin, preparation.checkpoint_names([run]))
    verdicts, seconds = _judge(run, store, record.pairs)
    if of_selected := pairs_of_selected(record):
        on_selected, seconds = _judge(run, store, of_selected)
        assert record.selected is not None
        record = replace(record, selected=replace(record.selected, verdicts=on_selected))
    record = replace(record, verdicts=verdicts, seconds=record.seconds | {"judge": seconds})
    _write_outputs(store, record)
    write_record(store.record, record)


def missing_answer_warnings(run: Run, prompts: dict[str, list[Prompt]]) -> list[str]:
    """How many prompts lack a gold answer that can be read, for data that has no other truth."""
    if run.data.answers == "none" or run.data.oracle is not None:
        return []
    lacking = {use: sum(p.answer is None for p in own) for use, own in prompts.items()}
    return [
        f"{n} of {len(prompts[use])} {use} prompts have no gold answer that can be read and are no part of any accuracy"
        for use, n in lacking.items()
        if n
    ]


def _write_outputs(store: Store, record: RunRecord) -> None:
    """Write the responses of start, policy and selected checkpoint in AlpacaEval's format."""
    run_id = record.run_id
    outputs = {
        "start": (record.generator_checkpoint, [p.start for p in record.pairs]),
        "policy": (run_id, [p.policy for p in record.pairs]),
    }
    if record.selected is not None and record.selected.responses is not None:
        outputs["selected"] = (f"{run_id} (selected)", record.selected.responses)
    for name, (generator, responses) in outputs.items():
        rows = [(p.prompt, r.response) for p, r in zip(record.pairs, responses, strict=True)]
        write_outputs(store.folder / f"{name}_outputs.json", rows, generator, record.config["data"]["name"])

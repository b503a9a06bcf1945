"""Compare a finished run's policy, and its untrained start, with further models and with the cut start.

A comparison is added to the record and changes nothing else in it. Runs share the responses of a further model to the
same prompts, and the verdicts on a start against it. The cut start (`experiments.run.cut_start`) needs no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cme.judges.pairwise import VerdictLog
from cme.records import CUT_START, Comparison, Generation, Pair, RunRecord, Verdict, read_record, write_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import judging, state
from experiments.run.cut_start import are_identical, cut_starts, tie_verdicts
from experiments.run.evaluation import comparator_responses, pair_prompts
from experiments.run.stage import print_message, resolve_weights
from experiments.run.store import Store, pending_comparators


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the pairs, in which the comparator stands for the start, and their verdict log."""

    pairs: list[Pair]
    log: Path


def comparison_sides(
    run: Run, store: Store, name: str, pairs: Sequence[Pair], responses: Sequence[Generation]
) -> tuple[Side, Side]:
    """The policy's responses against a comparator's, and the start's against them."""
    both = list(zip(pairs, responses, strict=True))
    # the cut start may depend on the policy, so that runs have nothing to share
    start_log = store.verdicts if name == CUT_START else start_verdict_log(run, store)
    return (
        Side([replace(p, start=r) for p, r in both], store.verdicts),
        Side([replace(p, start=r, policy=p.start) for p, r in both], start_log),
    )


def start_verdict_log(run: Run, store: Store) -> Path:
    """The log of the verdicts on a start against all comparators, one per judge, which the start's runs share.

    It has a budget of calls apart from that of the runs.
    """
    digests = {str(name): judging.judge_digest(judge) for name, judge in judging.judges(run.judge).items()}
    return store.starts / f"{identity.start_id(run)}-comparators-{identity.digest(digests)}.jsonl"


def compare(run: Run, store: Store) -> None:
    """Add the missing comparisons to a run's record, and judge the unscored verdicts of the others again.

    The record is written after each comparison.
    """
    for name in run.evaluation.comparators.keys() - store.comparators.keys():
        print_message(run, f"comparator {name} is the untrained start itself, skipped")
    record = read_record(store.record)
    for name, checkpoint in pending_comparators(record, store.comparators).items():
        updated = _compare_with(run, store, record, name, checkpoint)
        if updated != record:
            write_record(store.record, record := updated)


def _compare_with(run: Run, store: Store, record: RunRecord, name: str, checkpoint: str) -> RunRecord:
    """The record with its comparison with one comparator, as complete as the judge makes it."""
    state.report_stage(store.folder, f"comparing with {name}")
    comparisons = {c.name: c for c in record.comparisons or []}
    warnings, weights, seconds = record.warnings, {}, record.seconds.get("compare", 0.0)
    before = comparisons.get(name)
    if before is None and name == CUT_START:
        before = Comparison(name, checkpoint, cut_starts(run, record.pairs), [])
    elif before is None or before.checkpoint != checkpoint:
        weights = resolve_weights([checkpoint])
        prompts = pair_prompts(record.pairs)
        responses, took = comparator_responses(run, store, checkpoint, weights[checkpoint], prompts)
        seconds += took
        owner = f"comparator {name}'s"
        warnings = [*warnings, *judging.unread_warnings(run.judge, responses, [], owner=owner)]
        before = Comparison(name, checkpoint, responses, [])
    verdicts: list[list[Verdict]] = []
    sides = comparison_sides(run, store, name, record.pairs, before.responses)
    for side, known in zip(sides, (before.policy, before.start), strict=True):
        with VerdictLog(side.log) as log:
            earlier = log.seconds
            verdicts.append(_judge_side(run, name, side.pairs, log, known or ()))
            seconds += log.seconds - earlier
    policy, start = verdicts
    if message := judging.unscored_message([*policy, *start], f" against {name}"):
        print_message(run, message)
    comparisons[name] = replace(before, policy=policy, start=start)
    if comparisons[name] == before:
        return record
    return replace(
        record,
        comparisons=list(comparisons.values()),
        environment=record.environment | {f"weights of {key}": folder for key, folder in weights.items()},
        warnings=warnings,
        seconds=record.seconds | {"compare": seconds},
    )


def _judge_side(
    run: Run, name: str, pairs: Sequence[Pair], log: VerdictLog, known: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts on one side of a comparison. The cut start often equals a response, which is a tie."""
    both_orders = run.evaluation.both_orders
    same = [pair for pair in pairs if are_identical(pair)] if name == CUT_START and not known else []
    others = [pair for pair in pairs if pair not in same]
    verdicts = judging.collect_verdicts(run.judge, others, both_orders, log, known)
    return verdicts + tie_verdicts(run.judge, same, both_orders)

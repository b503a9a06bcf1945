"""Further models that a run's policy, and its untrained start, meet on the evaluation prompts before the same judge.

A comparison adds to a finished run and changes nothing in it: the responses of policy and start are those of the
record, and nothing is trained. A comparator answers once for all runs that meet it on the same prompts, and a start is
judged against it once for all runs of that start.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cme.judges.pairwise import VerdictLog
from cme.records import Comparison, Generation, Pair, Prompt, RunRecord, Verdict, read_record, write_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import judging, state
from experiments.run.responses import comparator_responses
from experiments.run.stage import resolve_weights
from experiments.run.store import Store, pending_comparators


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its pairs, those standing for the policy first, and the log of their verdicts."""

    pairs: list[Pair]
    log: Path


def comparison_sides(
    config: Run, store: Store, pairs: Sequence[Pair], responses: Sequence[Generation]
) -> tuple[Side, Side]:
    """The policy's responses and the start's against a comparator's."""
    both = list(zip(pairs, responses, strict=True))
    return (
        Side([replace(p, start=r) for p, r in both], store.verdicts),
        Side([replace(p, start=r, policy=p.start) for p, r in both], start_verdict_log(config, store)),
    )


def start_verdict_log(config: Run, store: Store) -> Path:
    """The log of the verdicts on a start against comparators, which its runs share; each judge has its own.

    It has a budget of its own too: what a judge may take for all comparators of a start.
    """
    asked = {str(name): judging.judge_digest(node) for name, node in judging.judges(config.judge).items()}
    return store.starts / f"{identity.start_id(config)}-comparators-{identity.digest(asked)}.jsonl"


def pending_checkpoints(store: Store) -> list[str]:
    """The checkpoints that a finished run has yet to meet and that must answer for that, each once."""
    record = read_record(store.record)
    met = {(c.name, c.checkpoint) for c in record.comparisons or []}
    owed = pending_comparators(record, store.comparators).items()
    return list(dict.fromkeys(checkpoint for name, checkpoint in owed if (name, checkpoint) not in met))


def compare(config: Run, store: Store) -> None:
    """Add to a run's record the comparisons that it lacks, and judge again what is unscored in the others.

    Each is written as soon as it is there.
    """
    for name in config.evaluation.comparators.keys() - store.comparators.keys():
        _say(store, f"comparator {name} is the untrained start itself, skipped")
    record = read_record(store.record)
    for name, checkpoint in pending_comparators(record, store.comparators).items():
        found = _met(config, store, record, name, checkpoint)
        if found != record:
            write_record(store.record, record := found)


def _met(config: Run, store: Store, record: RunRecord, name: str, checkpoint: str) -> RunRecord:
    """The record with its comparison with one comparator, as complete as the judge makes it."""
    state.report_stage(store.folder, f"meeting {name}")
    known = {c.name: c for c in record.comparisons or []}
    warnings, weights, seconds = record.warnings, {}, 0.0
    before = known.get(name)
    if before is None or before.checkpoint != checkpoint:
        weights = resolve_weights([checkpoint])
        asked = [Prompt(p.prompt_id, p.prompt, p.answer, p.reference) for p in record.pairs]
        responses, seconds = comparator_responses(config, store, checkpoint, weights[checkpoint], asked)
        warnings = [
            *warnings,
            *judging.unread_warnings(config.judge, responses, [], whose=f"of comparator {name}'s"),
        ]
        before = Comparison(name, checkpoint, responses, [])
    of_policy, of_start = comparison_sides(config, store, record.pairs, before.responses)
    policy, policy_seconds = _judged(config, of_policy, before.policy or None)
    start, start_seconds = _judged(config, of_start, before.start)
    known[name] = replace(before, policy=policy, start=start)
    unscored = [v.reason for v in (*policy, *start) if v.outcome == "unscored"]
    if unscored:
        _say(
            store,
            f"{len(unscored)} of {len(policy) + len(start)} verdicts against {name} are unscored, the first because "
            f"{unscored[0]}; the same command tries them again",
        )
    if known[name] == before:
        return record
    took = record.seconds.get("compare", 0.0) + seconds + policy_seconds + start_seconds
    return replace(
        record,
        comparisons=list(known.values()),
        environment=record.environment | {f"weights of {of}": folder for of, folder in weights.items()},
        warnings=warnings,
        seconds=record.seconds | {"compare": took},
    )


def _judged(config: Run, side: Side, known: Sequence[Verdict] | None) -> tuple[list[Verdict], float]:
    """The verdicts on one side, of the known ones only the unscored judged again, and the seconds that this took."""
    both_orders = config.evaluation.both_orders
    with VerdictLog(side.log) as log:
        before = log.seconds
        found = (
            judging.collect_verdicts(config.judge, side.pairs, both_orders, log)
            if known is None
            else judging.rejudge(config.judge, side.pairs, both_orders, log, known)
        )
        return found, log.seconds - before


def _say(store: Store, what: str) -> None:
    print(f"{store.folder.name}: {what}", file=sys.stderr)

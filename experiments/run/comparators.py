"""Compare a finished run's policy, and its untrained start, with further models and with the cut start.

A comparison is added to the record and changes nothing else in it. The cut start are the untrained model's own
responses, cut short without any training or model (`cme.evaluation.cut_start`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cme.checkpoints import load, load_tokenizer
from cme.evaluation.cut_start import cut_at_sentence_end, cut_to_length
from cme.judges.pairwise import VerdictLog
from cme.records import (
    CUT_START,
    Comparison,
    Generation,
    Pair,
    Prompt,
    RunRecord,
    Verdict,
    read_record,
    write_record,
)
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import judging
from experiments.run.cell import print_message, report_progress
from experiments.run.evaluation import cached_responses
from experiments.run.inputs import pair_prompts, resolve_weights
from experiments.run.store import Store, finished_comparators


def compare(run: Run, store: Store) -> None:
    """Add the missing comparisons to a run's record, and judge the unscored verdicts of the others again.

    The record is written after each comparison.
    """
    for name in run.evaluation.comparators.keys() - run.comparisons.keys():
        print_message(run, f"comparator {name} is the untrained start itself, skipped")
    record = read_record(store.record)
    finished = finished_comparators(record)
    for name, checkpoint in run.comparisons.items():
        if finished.get(name) != checkpoint:
            updated = _compare_with(run, store, record, name, checkpoint)
            if updated != record:
                write_record(store.record, record := updated)


def _compare_with(run: Run, store: Store, record: RunRecord, name: str, checkpoint: str) -> RunRecord:
    """The record with its comparison with one comparator, as complete as the judge makes it."""
    report_progress(store.folder, f"comparing with {name}")
    comparisons = {c.name: c for c in record.comparisons or []}
    warnings, environment, seconds = record.warnings, record.environment, record.seconds.get("compare", 0.0)
    before = comparisons.get(name)
    if before is None and name == CUT_START:
        before = Comparison(name, checkpoint, cut_starts(run, record.pairs), [])
    elif before is None or before.checkpoint != checkpoint:
        weights = resolve_weights([checkpoint])[checkpoint]
        responses, took = comparator_responses(run, store, checkpoint, weights, pair_prompts(record.pairs))
        before = Comparison(name, checkpoint, responses, [])
        seconds += took
        environment = environment | {f"weights of {checkpoint}": weights}
        unread = judging.unread_warnings(run.judge, responses, [], owner=f"comparator {name}'s")
        warnings = [*warnings, *unread]
    # the comparator stands for the start, then the start stands for the policy
    against = [replace(p, start=r) for p, r in zip(record.pairs, before.responses, strict=True)]
    of_start = [replace(p, policy=pair.start) for p, pair in zip(against, record.pairs, strict=True)]
    verdicts: list[list[Verdict]] = []
    for pairs, path, known in (
        (against, store.verdicts, before.policy),
        (of_start, _start_verdict_log(run, store, name), before.start or []),
    ):
        with VerdictLog(path) as log:
            earlier = log.seconds
            verdicts.append(_judge_side(run, name, pairs, log, known))
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
        environment=environment,
        warnings=warnings,
        seconds=record.seconds | {"compare": seconds},
    )


def _start_verdict_log(run: Run, store: Store, comparator: str) -> Path:
    """The log of the verdicts on a start against further models, one per judge, which the start's runs share.

    It has a budget of calls apart from that of the runs. The cut start may depend on the policy, so that runs have
    nothing to share.
    """
    if comparator == CUT_START:
        return store.verdicts
    digests = {str(name): judging.judge_digest(judge) for name, judge in judging.judges(run.judge).items()}
    return store.starts / f"{identity.start_id(run)}-comparators-{identity.digest(digests)}.jsonl"


def _judge_side(
    run: Run, name: str, pairs: Sequence[Pair], log: VerdictLog, known: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts on one side of a comparison.

    The cut start often equals a response, which is a tie without a call: one verdict per order, or one for both by a
    judge that combines them.
    """
    both_orders = run.evaluation.both_orders
    same: list[Pair] = []
    if name == CUT_START and not known:  # a judge would read the same response twice
        same = [
            p for p in pairs if (p.start.response, p.start.finished) == (p.policy.response, p.policy.finished)
        ]
    others = [pair for pair in pairs if pair not in same]
    verdicts = judging.collect_verdicts(run.judge, others, both_orders, log, known)
    for member_name, member in judging.judges(run.judge).items():
        combines = judging.judge_class(member).combines_orders
        orders = (True, False) if both_orders and not combines else (True,)
        scores = (None, None) if combines else None
        verdicts += [
            Verdict(pair.prompt_id, policy_first, "tie", judge=member_name, orders=scores)
            for pair in same
            for policy_first in orders
        ]
    return verdicts


def comparator_responses(
    run: Run, store: Store, name: str, weights: str, prompts: Sequence[Prompt]
) -> tuple[list[Generation], float]:
    """A further model's greedy responses and the seconds that they took; runs with the same prompts share them."""
    inputs: list[object] = [weights, run.evaluation.max_new_tokens, [p.text for p in prompts]]
    inputs += identity.stop_rule(run).values()
    if template := identity.counted_template(run.chat_template.generator):
        inputs.append(template)
    path = store.starts / f"{run.scale.name}-comparator-{identity.digest(inputs)}.json"
    model = partial(load, name, chat_template_kwargs=run.chat_template.generator)
    return cached_responses(run, path, inputs, model, prompts, progress=f"answers of {name}", published=name)


def cut_starts(run: Run, pairs: Sequence[Pair]) -> list[Generation]:
    """The untrained model's responses of the pairs, cut short."""
    if run.data.oracle is not None:
        return [cut_at_sentence_end(pair.start) for pair in pairs]
    tokenizer = load_tokenizer(run.generator, run.chat_template.generator)
    return [cut_to_length(tokenizer, pair.start, pair.policy) for pair in pairs]

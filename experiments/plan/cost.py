"""The command `cost`: what judging takes in calls, tokens and US dollars, without a call, a key or a model.

For a run with recorded responses, the comparisons that are still pending count; for any other, the most that there can
be. Comparisons that runs share, of an untrained model with another model, count once.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from cme.judges.chat_endpoint import CHARACTERS_PER_TOKEN
from cme.judges.pairwise import VerdictLog
from cme.records import Generation, Pair, Prompt, Verdict, read_json, read_record
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.probes import sanity
from experiments.run import accuracy, comparators, inputs, selection
from experiments.run.judging_cost import PendingJudging, cost_lines
from experiments.run.store import Store, pending_comparators


def lines(runs: Sequence[Run]) -> list[str]:
    """One line per run and judge, one with the total, and the assumptions.

    Raises ValueError for a log or a record that cannot be read, and as `selection.selection_prompts` does.
    """
    return cost_lines(list({part.name: part for run in runs for part in _pending(run)}.values()))


def _pending(run: Run) -> list[PendingJudging]:
    """What the judges of a run, or of a sanity check, have yet to judge."""
    if run.experiment.run == "experiments.probes.sanity.run":
        if sanity.record_path(run).exists():
            return []
        return [_bound(run, sanity.sanity_id(run), _prompts(run), opponents=len(sanity.OPPONENTS))]
    store, both = Store.of(run), run.evaluation.both_orders
    log = VerdictLog(store.verdicts)
    if store.record.exists():
        record = read_record(store.record)
        pairs = _with_unscored(record.pairs, record.verdicts)
        return [PendingJudging(run.run_id, run.judge, pairs, both, log), *_against_comparators(run, store)]
    prompts = _prompts(run)
    if store.generations.exists() and store.start.exists():
        start, policy = (
            [Generation(**each) for each in read_json(path)["value"]]
            for path in (store.start, store.generations)
        )
        shown = accuracy.judged_prompts(run, prompts)
        pairs = [
            Pair(p.id, p.text, p.reference, a, b, p.answer)
            for p, a, b in zip(shown, start, policy, strict=True)
        ]
        found = [PendingJudging(run.run_id, run.judge, pairs, both, log)]
    else:
        found = [_bound(run, run.run_id, prompts, log=log)]
    found += _against_comparators(run, store)
    if run.selection.every is not None:
        chosen = selection.selection_prompts(run)
        steps = selection.compared_steps(run, run.trainer.max_steps)
        found += [
            _bound(run, f"{run.run_id}, selection", chosen, opponents=len(steps), judge=run.selection.judge),
            _bound(run, f"{run.run_id}, selected checkpoint", prompts),
        ]
    return found


def _against_comparators(run: Run, store: Store) -> list[PendingJudging]:
    """Comparisons with further models: of a recorded one the unscored verdicts, of any other all."""
    record = read_record(store.record) if store.record.exists() else None
    pending = store.comparators if record is None else pending_comparators(record, store.comparators)
    found = []
    for name, checkpoint in pending.items():
        sides = (store.folder.name, comparators.start_verdict_log(run, store).stem)
        labels = [f"{side} against {checkpoint}" for side in sides]
        known = record.comparisons or [] if record is not None else []
        met = next((c for c in known if (c.name, c.checkpoint) == (name, checkpoint)), None)
        if record is None or met is None:
            found += [_bound(run, label, _prompts(run)) for label in labels]
            continue
        both_sides = comparators.comparison_sides(run, store, record.pairs, met.responses)
        for label, side, verdicts in zip(labels, both_sides, (met.policy, met.start or []), strict=True):
            pairs = _with_unscored(side.pairs, verdicts)
            log = VerdictLog(side.log)
            found.append(PendingJudging(label, run.judge, pairs, run.evaluation.both_orders, log))
    return found


def _bound(
    run: Run,
    name: str,
    prompts: Sequence[Prompt],
    *,
    opponents: int = 1,
    judge: Component | None = None,
    log: VerdictLog | None = None,
) -> PendingJudging:
    """Pairs of responses of maximal length, all different, for each prompt and opponent."""
    length = math.ceil(run.evaluation.max_new_tokens * CHARACTERS_PER_TOKEN)
    start = Generation("x" * length, False, 0)
    pairs = [
        Pair(p.id, p.text, p.reference, start, Generation(f"{n}".ljust(length, "y"), False, 0))
        for n in range(opponents)
        for p in prompts
    ]
    return PendingJudging(
        name,
        judge or run.judge,
        pairs,
        run.evaluation.both_orders,
        log or VerdictLog(Path(os.devnull)),
        upper_bound=True,
    )


def _prompts(run: Run) -> list[Prompt]:
    return inputs.load_prompts(run.data, run.data.eval_split, run.data.eval_prompts)


def _with_unscored(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> list[Pair]:
    """The pairs that have an unscored verdict."""
    unscored = {v.prompt_id for v in verdicts if v.outcome == "unscored"}
    return [pair for pair in pairs if pair.prompt_id in unscored]

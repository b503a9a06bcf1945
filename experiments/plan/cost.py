"""`cme cost`: calls, tokens and US dollars of judging, without a call, a key or a model.

For a run with recorded responses the pending comparisons count; for any other run, the estimate is an upper bound.
Comparisons that runs share, of an untrained model with another model, count once.
"""

import math
import os
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from cme.judges.chat_endpoint import CHARACTERS_PER_TOKEN
from cme.judges.pairwise import VerdictLog
from cme.records import CUT_START, Generation, Pair, Prompt, Verdict, read_json, read_record
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.trainer_validation import judged_comparisons
from experiments.probes import sanity
from experiments.run import comparators, inputs, judging, selection
from experiments.run.evaluation import make_pairs
from experiments.run.judging import PendingJudging, cost_lines
from experiments.run.store import Store, pending_comparators
from experiments.run.twin import find_twin, pairs_of_selected


def lines(runs: Sequence[Run]) -> list[str]:
    """One line per run and judge, one with the total, and the assumptions.

    Raises ValueError for a log or a record that cannot be read, and as `selection.selection_prompts` does.
    """
    return cost_lines(list({part.name: part for run in runs for part in _pending(run)}.values()))


def _pending(run: Run) -> list[PendingJudging]:
    """The pending comparisons of a run or of a sanity check."""
    if run.experiment.run == "experiments.probes.sanity.run":
        if sanity.record_path(run).exists():
            return []
        return [_upper_bound(run, sanity.sanity_id(run), opponents=len(sanity.OPPONENTS))]
    store = Store.of(run)
    in_training = [] if store.training.exists() or store.record.exists() else _pending_of_reward(run, store)
    return [*in_training, *_pending_of_evaluation(run, store)]


def _pending_of_reward(run: Run, store: Store) -> list[PendingJudging]:
    """The comparisons of the reward's judge in training, which runs with the same training share."""
    pending = []
    for path, judge in identity.reward_judges(run).items():
        if judging.judge_class(judge).asks_server:
            prompts = cycle(inputs.training_prompts(run))
            compared = list(islice(prompts, judged_comparisons(run, path) // 2))
            tokens = run.values["trainer"].get("max_completion_length", run.evaluation.max_new_tokens)
            pairs = _longest_pairs(compared, tokens)
            log = VerdictLog(store.reward_verdicts)
            name = f"{store.trained.name}, {path}"
            pending.append(PendingJudging(name, judge, pairs, both_orders=True, log=log, upper_bound=True))
    return pending


def _pending_of_evaluation(run: Run, store: Store) -> list[PendingJudging]:
    """The pending comparisons of a run's responses to the evaluation and selection prompts."""
    both_orders, log = run.evaluation.both_orders, VerdictLog(store.verdicts)
    if store.record.exists():
        record = read_record(store.record)
        pairs = _unscored_pairs(record.pairs, record.verdicts)
        judging = PendingJudging(run.run_id, run.judge, pairs, both_orders, log)
        return [judging, *_pending_with_comparators(run, store)]
    if (twin := find_twin(run, store)) is not None:
        pending = [PendingJudging(run.run_id, run.judge, twin.pairs, both_orders, log)]
        if of_selected := pairs_of_selected(twin):
            label = f"{run.run_id}, selected checkpoint"
            pending.append(PendingJudging(label, run.judge, of_selected, both_orders, log))
        return [*pending, *_pending_with_comparators(run, store)]
    if store.generations.exists() and store.start.exists():
        start, policy = (
            [Generation(**each) for each in read_json(path)["value"]]
            for path in (store.start, store.generations)
        )
        pairs = make_pairs(run, _prompts(run), start, policy)
        pending = [PendingJudging(run.run_id, run.judge, pairs, both_orders, log)]
    else:
        pending = [_upper_bound(run, run.run_id, log=log)]
    pending += _pending_with_comparators(run, store)
    if run.selection.every is not None:
        chosen = selection.selection_prompts(run)
        steps = len(selection.compared_steps(run, run.trainer.max_steps))
        name, judge = f"{run.run_id}, selection", run.selection.judge
        pending.append(_upper_bound(run, name, chosen, opponents=steps, judge=judge))
        pending.append(_upper_bound(run, f"{run.run_id}, selected checkpoint"))
    return pending


def _pending_with_comparators(run: Run, store: Store) -> list[PendingJudging]:
    """Comparisons with further models and the cut start: all verdicts, or the unscored ones of a recorded one."""
    record = read_record(store.record) if store.record.exists() else None
    models = store.comparators if record is None else pending_comparators(record, store.comparators)
    known = (record and record.comparisons) or []
    pending = []
    for name, checkpoint in models.items():
        if name == CUT_START:
            labels = [f"{run.run_id}{side} against the cut start" for side in ("", ", untrained model")]
        else:
            sides = (store.folder.name, comparators.start_verdict_log(run, store).stem)
            labels = [f"{side} against {checkpoint}" for side in sides]
        recorded = next((c for c in known if (c.name, c.checkpoint) == (name, checkpoint)), None)
        if record is None or recorded is None:
            pending += [_upper_bound(run, label) for label in labels]
            continue
        both_sides = comparators.comparison_sides(run, store, name, record.pairs, recorded.responses)
        verdicts = (recorded.policy, recorded.start or [])
        for label, side, of_side in zip(labels, both_sides, verdicts, strict=True):
            pairs, log = _unscored_pairs(side.pairs, of_side), VerdictLog(side.log)
            pending.append(PendingJudging(label, run.judge, pairs, run.evaluation.both_orders, log))
    return pending


def _upper_bound(
    run: Run,
    name: str,
    prompts: Sequence[Prompt] | None = None,
    *,
    opponents: int = 1,
    judge: Component | None = None,
    log: VerdictLog | None = None,
) -> PendingJudging:
    """A pair of different responses of maximal length for each prompt and opponent; default: evaluation prompts."""
    judged = _prompts(run) if prompts is None else prompts
    pairs = _longest_pairs([p for _ in range(opponents) for p in judged], run.evaluation.max_new_tokens)
    log = log or VerdictLog(Path(os.devnull))
    return PendingJudging(name, judge or run.judge, pairs, run.evaluation.both_orders, log, upper_bound=True)


def _longest_pairs(prompts: Sequence[Prompt], tokens: int) -> list[Pair]:
    """A pair of different responses of maximal length for each prompt."""
    length = math.ceil(tokens * CHARACTERS_PER_TOKEN)
    start = Generation("x" * length, False, 0)
    return [
        Pair(p.id, p.text, p.reference, start, Generation(f"{n}".ljust(length, "y"), False, 0))
        for n, p in enumerate(prompts)
    ]


def _prompts(run: Run) -> list[Prompt]:
    return inputs.evaluation_prompts(run)


def _unscored_pairs(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> list[Pair]:
    unscored = {v.prompt_id for v in verdicts if v.outcome == "unscored"}
    return [pair for pair in pairs if pair.prompt_id in unscored]

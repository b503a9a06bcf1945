"""`python -m experiments cost [overrides]`: what judging would take, without a call, a key or a model.

Of a run that has its responses the comparisons still owed are reckoned with, of any other as many as it will have,
of responses as long as they may become. What runs share, an untrained start against a comparator, counts once.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cme.judges.chat_endpoint import CHARACTERS_PER_TOKEN
from cme.judges.pairwise import VerdictLog
from cme.judges.pairwise import pending_comparisons as owed
from cme.records import Generation, Pair, Prompt, Verdict, read_json, read_record
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.run import comparators, inputs, judging
from experiments.run.store import Store, pending_comparators

ASSUMED = """\
Reckoned with 4 characters a token, each reply at the longest that judge.decoding allows, no attempt failed; not
counted is one trial call a command to each judge. `at most`: the responses do not exist yet and are taken for as
long as evaluation.max_new_tokens and judge.max_response_chars allow."""


@dataclass(frozen=True)
class Part:
    """Pairs that a judge is to judge; `most` is `at most ` where they stand for responses that do not exist yet."""

    of: str
    judge: Component
    pairs: Sequence[Pair]
    both_orders: bool
    log: VerdictLog
    most: str = ""


def lines(configs: Sequence[Run]) -> list[str]:
    """One line a run and judge, one of the sum, and what is assumed.

    Raises as `grid.prompts` does, and ValueError for a log or a record that cannot be read.
    """
    return priced(list({part.of: part for config in configs for part in _parts(config)}.values()))


def priced(parts: Sequence[Part]) -> list[str]:
    """One line a part and judge, one of the sum, and what is assumed."""
    found, calls, usd = [], 0, 0.0
    for part in parts:
        for name, node in judging.judges(part.judge).items():
            who = f"{part.of}: judge {name or node.name}"
            if not judging.judge_class(node).asks_server:
                found.append(f"{who} makes no calls")
                continue
            asked = owed(part.pairs, part.both_orders, part.log, judging.judge_digest(node), name).values()
            judge = judging.instantiate_judge(node)
            tokens = [judge.estimate_tokens(shown.prompt, shown.first, shown.second) for shown in asked]
            known = [each for each in tokens if each is not None]
            if len(known) < len(tokens):
                found.append(f"{who}: {part.most}{len(asked)} calls, unknown tokens, unknown cost")
                calls, usd = calls + len(asked), usd + (math.nan if asked else 0.0)
                continue
            sent, back = sum(t[0] for t in known), sum(t[1] for t in known)
            price = judge.price(sent, back)
            found.append(f"{who}: {part.most}{_take(len(asked), sent, back, price)}")
            calls, usd = calls + len(asked), usd + (math.nan if price is None else price)
    total = f"{usd:.2f} USD" if math.isfinite(usd) else "unknown cost"
    return [*found, f"in all {calls} calls, {total}", ASSUMED]


def _parts(config: Run) -> list[Part]:
    """What a cell's judges have yet to judge: a sanity check's opponents, or all that a run compares."""
    both, nothing = config.evaluation.both_orders, VerdictLog(Path(os.devnull))
    if config.experiment.run == "experiments.probes.sanity.run":
        from experiments.probes import sanity

        if sanity.record_path(config).exists():
            return []
        prompts = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
        pairs = _stand_ins(config, prompts, len(sanity.OPPONENTS))
        return [Part(sanity.sanity_id(config), config.judge, pairs, both, nothing, "at most ")]
    run, store = config.run_id, Store.of(config)
    pairs, most = _pairs(config)
    parts = [Part(run, config.judge, pairs, both, VerdictLog(store.verdicts), most), *_against(config, store)]
    if config.selection.every is None or store.record.exists():
        return parts
    from experiments.run import selection

    saved = len(selection.compared_steps(config, config.trainer.max_steps))
    met = _stand_ins(config, selection.selection_prompts(config), saved)
    chosen = _stand_ins(config, [Prompt(p.prompt_id, p.prompt, reference=p.reference) for p in pairs], 1)
    return [
        *parts,
        Part(f"{run}, selection", config.selection.judge, met, both, nothing, "at most "),
        Part(f"{run}, selected checkpoint", config.judge, chosen, both, nothing, "at most "),
    ]


def _against(config: Run, store: Store) -> list[Part]:
    """What is yet to be judged against comparators: of a comparison on record the unscored, of any other all."""
    record = read_record(store.record) if store.record.exists() else None
    owed = store.comparators if record is None else pending_comparators(record, store.comparators)
    known = [] if record is None else record.comparisons or []
    both, nothing = config.evaluation.both_orders, VerdictLog(Path(os.devnull))
    parts = []
    for name, checkpoint in owed.items():
        who = (store.folder.name, comparators.start_verdict_log(config, store).stem)
        labels = [f"{one} against {checkpoint}" for one in who]
        met = next((c for c in known if (c.name, c.checkpoint) == (name, checkpoint)), None)
        if record is None or met is None:
            prompts = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
            pairs = _stand_ins(config, prompts, 1)
            parts += [Part(of, config.judge, pairs, both, nothing, "at most ") for of in labels]
            continue
        both_sides = comparators.comparison_sides(config, store, record.pairs, met.responses)
        for of, side, verdicts in zip(labels, both_sides, (met.policy, met.start or []), strict=True):
            pairs = _unscored(side.pairs, verdicts)
            parts.append(Part(of, config.judge, pairs, both, VerdictLog(side.log)))
    return parts


def _unscored(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> list[Pair]:
    """The pairs that have an unscored verdict."""
    owed = {v.prompt_id for v in verdicts if v.outcome == "unscored"}
    return [pair for pair in pairs if pair.prompt_id in owed]


def _stand_ins(config: Run, prompts: Sequence[Prompt], opponents: int) -> list[Pair]:
    """A pair for each prompt and opponent, of responses as long as they may become, all of them different."""
    length = math.ceil(config.evaluation.max_new_tokens * CHARACTERS_PER_TOKEN)
    start = Generation("x" * length, False, 0)
    return [
        Pair(p.id, p.text, p.reference, start, Generation(f"{n}".ljust(length, "y"), False, 0))
        for n in range(opponents)
        for p in prompts
    ]


def _take(calls: int, sent: int, back: int, price: float | None) -> str:
    cost = (
        "unknown cost; set judge.usd_per_million_input and judge.usd_per_million_output"
        if price is None
        else f"{price:.2f} USD"
    )
    return f"{calls} calls, {sent} tokens sent, {back} replied, {cost}"


def _pairs(config: Run) -> tuple[list[Pair], str]:
    """The pairs that a run has yet to judge, or stand-ins as long as they may become, and `at most` for these."""
    store = Store.of(config)
    if store.record.exists():
        record = read_record(store.record)
        return _unscored(record.pairs, record.verdicts), ""
    prompts = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    if not (store.generations.exists() and store.start.exists()):
        return _stand_ins(config, prompts, 1), "at most "
    sides = [
        [Generation(**response) for response in read_json(path)["value"]]
        for path in (store.start, store.generations)
    ]
    return [Pair(p.id, p.text, p.reference, *both) for p, *both in zip(prompts, *sides, strict=True)], ""

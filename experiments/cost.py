"""`python -m experiments cost [overrides]`: what judging would take, without a call, a key or a model.

Of a run that has its responses the comparisons still owed are reckoned with, of any other as many as it will have,
of responses as long as they may become.
"""

import math
from collections.abc import Sequence

from hydra.utils import get_object
from omegaconf import DictConfig

from cme.judges.chat_endpoint import CHARACTERS_A_TOKEN
from cme.judging import VerdictLog, owed
from cme.records import Generation, Pair, read_json, read_record
from experiments import grid, judging
from experiments.identity import run_id
from experiments.store import Store

ASSUMED = """\
Reckoned with 4 characters a token, each reply at the longest that judge.decoding allows, no attempt failed; not
counted is one trial call a command to each judge. `at most`: the responses do not exist yet and are taken for as
long as evaluation.max_new_tokens and judge.max_response_chars allow."""


def lines(configs: Sequence[DictConfig]) -> list[str]:
    """One line a run and judge, one of the sum, and what is assumed. Raises as `grid.prompts` does."""
    found, calls, usd = [], 0, 0.0
    for config in configs:
        pairs, most = _pairs(config)
        log = VerdictLog(Store.of(config).verdicts)
        for name, node in judging.judges(config).items():
            who = f"{run_id(config)}: judge {name or node.name}"
            if not hasattr(get_object(node._target_), "tokens"):
                found.append(f"{who} makes no calls")
                continue
            judge = judging.made(node)
            asked = owed(pairs, config.evaluation.both_orders, log, judging.key(config, name), name).values()
            tokens = [judge.tokens(shown.prompt, shown.first, shown.second) for shown in asked]
            sent, back = sum(t[0] for t in tokens), sum(t[1] for t in tokens)
            price = judge.usd(sent, back)
            found.append(f"{who}: {most}{_take(len(asked), sent, back, price)}")
            calls, usd = calls + len(asked), usd + (math.nan if price is None else price)
    priced = f"{usd:.2f} USD" if math.isfinite(usd) else "unknown cost"
    return [*found, f"in all {calls} calls, {priced}", ASSUMED]


def _take(calls: int, sent: int, back: int, price: float | None) -> str:
    cost = (
        "unknown cost; set judge.usd_per_million_input and judge.usd_per_million_output"
        if price is None
        else f"{price:.2f} USD"
    )
    return f"{calls} calls, {sent} tokens sent, {back} replied, {cost}"


def _pairs(config: DictConfig) -> tuple[list[Pair], str]:
    """The pairs that a run has yet to judge, or stand-ins as long as they may become, and `at most` for these."""
    store = Store.of(config)
    if store.record.exists():
        record = read_record(store.record)
        unscored = {v.prompt_id for v in record.verdicts if v.outcome == "unscored"}
        return [pair for pair in record.pairs if pair.prompt_id in unscored], ""
    prompts = grid.prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    if store.generations.exists() and store.start.exists():
        sides = [
            [Generation(**response) for response in read_json(path)["value"]]
            for path in (store.start, store.generations)
        ]
        most = ""
    else:
        length = math.ceil(config.evaluation.max_new_tokens * CHARACTERS_A_TOKEN)
        sides = [[Generation(letter * length, False, 0)] * len(prompts) for letter in "xy"]
        most = "at most "
    return [Pair(p.id, p.text, p.reference, *both) for p, *both in zip(prompts, *sides, strict=True)], most

"""The estimated cost of pending comparisons: calls, tokens and US dollars, without any call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cme.judges.pairwise import VerdictLog, pending_comparisons
from cme.records import Pair
from experiments.config.components import Component
from experiments.run import judging

ASSUMPTIONS = """\
Estimated with 4 characters per token, the longest reply that judge.decoding allows and no failed calls, without one
trial call per command and judge. `at most`: the responses do not exist yet and are assumed to be as long as
evaluation.max_new_tokens and judge.max_response_chars allow."""


@dataclass(frozen=True)
class PendingJudging:
    """Pairs to judge. With `upper_bound` they stand for responses that do not exist yet.

    Verdicts in the log count as done.
    """

    name: str
    judge: Component
    pairs: Sequence[Pair]
    both_orders: bool
    log: VerdictLog
    upper_bound: bool = False


def cost_lines(pending: Sequence[PendingJudging]) -> list[str]:
    """One line per item and judge, one with the total, and the assumptions."""
    lines, calls, usd = [], 0, 0.0
    for each in pending:
        for name, judge in judging.judges(each.judge).items():
            who = f"{each.name}: judge {name or judge.name}"
            if not judging.judge_class(judge).asks_server:
                lines.append(f"{who} makes no calls")
                continue
            digest = judging.judge_digest(judge)
            comparisons = pending_comparisons(each.pairs, each.both_orders, each.log, digest, name).values()
            instance = judging.instantiate_judge(judge)
            estimates = [instance.estimate_tokens(c.prompt, c.first, c.second) for c in comparisons]
            known = [estimate for estimate in estimates if estimate is not None]
            sent, received = sum(e[0] for e in known), sum(e[1] for e in known)
            price = instance.price(sent, received) if len(known) == len(estimates) else None
            tokens = (
                f"{sent} tokens sent, {received} received"
                if len(known) == len(estimates)
                else "unknown tokens"
            )
            cost = f"{price:.2f} USD" if price is not None else "unknown cost"
            if price is None and len(known) == len(estimates):
                cost += "; set judge.usd_per_million_input and judge.usd_per_million_output"
            bound = "at most " if each.upper_bound else ""
            lines.append(f"{who}: {bound}{len(estimates)} calls, {tokens}, {cost}")
            calls += len(estimates)
            usd += math.nan if price is None else price
    total = f"{usd:.2f} USD" if math.isfinite(usd) else "unknown cost"
    return [*lines, f"in all {calls} calls, {total}", ASSUMPTIONS]

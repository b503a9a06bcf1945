"""Responses before and after training: the biggest gains, the biggest losses, and some at random."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.cells import Cell
from analysis.load import points, scores
from analysis.metrics import SEED
from cme.records import Generation, Pair, RunRecord, Verdict

PER_KIND = 2
LIMIT = 2_000  # characters of a text that the report shows

WORDS = {1.0: "won", 0.5: "tie", 0.0: "lost"}


@dataclass(frozen=True)
class Example:
    """One pair as the report shows it; `gain` is the mean score gained, or else mean points above a tie."""

    kind: str
    seed: int
    prompt: str
    reference: str | None
    start: str
    start_length: str
    policy: str
    policy_length: str
    verdict: str
    gain: float


def examples_of(cell: Cell, records: Sequence[RunRecord]) -> list[Example]:
    """The cell's examples, no pair twice; the random ones are the same in every report."""
    judged = [example for record in records if record.run_id in cell.runs for example in judged_pairs(record)]
    by_gain = sorted(range(len(judged)), key=lambda index: -judged[index].gain)
    gains = [index for index in by_gain if judged[index].gain > 0][:PER_KIND]
    losses = [index for index in reversed(by_gain) if judged[index].gain < 0][:PER_KIND]
    others = [index for index in range(len(judged)) if index not in gains + losses]
    drawn = [int(index) for index in np.random.default_rng(SEED).permutation(others)[:PER_KIND]]
    kinds = {"gain": gains, "loss": losses, "random": drawn}
    return [replace(judged[index], kind=kind) for kind, chosen in kinds.items() for index in chosen]


def judged_pairs(record: RunRecord) -> list[Example]:
    """Every pair of a run that has a scored verdict."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in record.verdicts:
        if verdict.outcome != "unscored":
            verdicts[verdict.prompt_id].append(verdict)
    return [
        judged_pair(record.seed, pair, verdicts[pair.prompt_id])
        for pair in record.pairs
        if pair.prompt_id in verdicts
    ]


def judged_pair(seed: int, pair: Pair, verdicts: Sequence[Verdict]) -> Example:
    """A pair with its scored verdicts, not yet chosen for a kind."""
    outcome = ", ".join(WORDS[points(verdict)] for verdict in verdicts)
    gain = float(np.mean([points(verdict) - 0.5 for verdict in verdicts]))
    scored = [scores(verdict) for verdict in verdicts if verdict.scores is not None]
    if scored:
        before, after = np.mean(scored, axis=0)
        outcome += f"; score {before:.2f} → {after:.2f}"
        gain = float(after - before)
    return Example(
        kind="",
        seed=seed,
        prompt=shortened(pair.prompt),
        reference=None if pair.reference is None else shortened(pair.reference),
        start=shortened(pair.start.response),
        start_length=length(pair.start),
        policy=shortened(pair.policy.response),
        policy_length=length(pair.policy),
        verdict=outcome,
        gain=gain,
    )


def shortened(text: str) -> str:
    """The text, or its beginning and how much was left out."""
    left_out = len(text) - LIMIT
    return text if left_out <= 0 else f"{text[:LIMIT]} … ({left_out:,} more characters)"


def length(generation: Generation) -> str:
    """A response's length in words."""
    if generation.tokens is None:
        return f"{len(generation.response)} characters"
    return f"{generation.tokens} tokens{', cut at the limit' if generation.finished is False else ''}"

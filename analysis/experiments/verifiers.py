"""What the experiments on verifiers share: a verifier's relation to its generator, its own quality, and the results."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan
from operator import attrgetter
from typing import Any

import numpy as np

from analysis.figures.forest import Dot, Panel
from analysis.figures.style import Style
from analysis.records.frames import verdicts_frame
from analysis.records.names import method_names, order_key, sort_names
from analysis.sections.base import NothingToShow
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.metrics import MIN_SEEDS, Tally, tally, win_rate
from analysis.tables.accuracy import accuracy_frame, correct_by_prompt
from analysis.tables.cells import Cell, build_cells, row_of
from analysis.tables.render import Entry, format_interval, format_percent
from cme.records import MAJORITY, RunRecord

ORACLE = "oracle"
RELATIONS = {
    "random weights": Style("#767676", "v"),
    "itself": Style("#D55E00", "D"),
    "same family": Style("#E69F00", "s"),
    "other family": Style("#0072B2", "o"),
    "ensemble": Style("#009E73", "P"),
}
"""How a verifier is related to its generator, with the style of each relation."""
KNOWLEDGE = ("random", "pretrained", "sft", "instruct", "verifier")
"""The training of a checkpoint, from least to most knowledge."""
SEEDS_NOTE = (
    f"In brackets: across-seed 95 % intervals (for other seeds and other prompts), [n/a] below {MIN_SEEDS} seeds. "
    f"Bold: the interval excludes no effect, on {FEW_PROMPTS} prompts or more."
)
COLUMNS: Mapping[str, Callable[["Outcome"], str]] = {
    "generator": attrgetter("generator"),
    "verifier": attrgetter("label"),
    "relation": attrgetter("relation"),
    "its own quality": attrgetter("own_text"),
    "seeds": attrgetter("seeds"),
}
"""The first columns of a table with one row per verifier."""
Interval3 = tuple[float, float, float]
"""A value with the bounds of its 95 % interval, NaN if it is not recorded."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of training one generator with one verifier.

    `own` is the verifier's own true quality (0 to 1). `after` holds the policies' true quality by prompt and run, or on
    mathematics whether they are right; `gain` is its difference from the untrained model in hundredths. Both are None
    if not measured. `cell` has the win rate; `shares` is the row of `accuracy_frame` on mathematics.
    """

    generator: str
    label: str
    relation: str
    knowledge: str
    own: Interval3
    runs: Sequence[RunRecord]
    after: Tally | None = field(repr=False)
    gain: Contrast | None
    cell: Cell | None = None
    shares: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def style(self) -> Style:
        """How the outcome is drawn: by the verifier's relation."""
        return RELATIONS[self.relation]

    @property
    def seeds(self) -> str:
        """The seeds of the runs."""
        return " ".join(map(str, sorted(run.seed for run in self.runs)))

    @property
    def own_text(self) -> str:
        """The verifier's own quality with its interval, or the training of its checkpoint."""
        value, lo, hi = self.own
        return f"({self.knowledge})" if isnan(value) else f"{value:.3f} {format_interval(lo, hi, 3)}"

    @property
    def judge(self) -> str:
        """The judge of the win rate, empty on mathematics."""
        return self.cell.judge if self.cell else ""

    @property
    def row(self) -> dict[str, Any]:
        """The verifier's properties, and the cell if there is one, as a row of a frame."""
        own = dict(zip(("own_quality", "own_lo", "own_hi"), self.own, strict=True))
        cell = row_of(self.cell) if self.cell else {}
        return {"relation": self.relation, "knowledge": self.knowledge} | own | cell


def quality_outcomes(runs: Sequence[RunRecord]) -> list[Outcome]:
    """The outcomes of one generator's runs under one judge, from the least able verifier to the most able one.

    Raises NothingToShow without a verdict.
    """
    names, by_id = verifier_labels(runs), {run.run_id: run for run in runs}
    judge = shown_judge(runs)
    found = []
    for cell in build_cells(runs):
        if cell.judge == judge:
            own = [by_id[run_id] for run_id in cell.runs]
            after, before = (oracle_tally(own, side) for side in ("score_policy", "score_start"))
            gain = contrast(after, before) if after is not None and before is not None else None
            found.append(outcome(names[cell.runs[0]], own, after, gain, cell=cell))
    return sort_by_ability(found)


def accuracy_outcomes(runs: Sequence[RunRecord]) -> list[Outcome]:
    """The outcomes on mathematics of one generator's graded runs, from the least able verifier to the most able one."""
    names = verifier_labels(runs)
    found = []
    for name in dict.fromkeys(names.values()):
        own = [run for run in runs if names[run.run_id] == name]
        [shares] = [row for row in accuracy_frame(own).to_dict("records") if row["policy"] == "final"]
        before, after = correct_by_prompt(own)
        graded = len(after.prompts) > 0
        gain = contrast(after, before) if graded else None
        found.append(outcome(name, own, after if graded else None, gain, shares=shares))
    return sort_by_ability(found)


def outcome(
    label: str, runs: Sequence[RunRecord], after: Tally | None, gain: Contrast | None, **more: Any
) -> Outcome:
    """The outcome of the runs with one verifier."""
    first = runs[0]
    verifier = (relation(first), knowledge(first), own_quality(runs))
    return Outcome(f"{first.family} {first.regime}", label, *verifier, runs, after, gain, **more)


def sort_by_ability(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Random weights first, then by the verifiers' own quality, or by knowledge if any quality is unknown.

    An ensemble has no quality of its own and comes last.
    """
    known = not any(isnan(o.own[0]) for o in outcomes if o.relation != "ensemble")

    def ability(of: Outcome) -> tuple[bool, float, tuple[int, str], str]:
        own = of.own[0] if known and of.relation != "ensemble" else inf
        return of.relation != "random weights", own, order_key(of.knowledge, KNOWLEDGE), of.label

    return sorted(outcomes, key=ability)


def verifier_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """A label per run id: its verifier, or its full method name if the verifier alone would pool settings."""
    names = method_names(runs)
    verifiers = {names[run.run_id]: run.verifier for run in runs}
    unique = len(set(verifiers.values())) == len(verifiers)
    return {run.run_id: run.verifier if unique else names[run.run_id] for run in runs}


def relation(run: RunRecord) -> str:
    """How a run's verifier is related to its generator."""
    checkpoints = run.verifier_checkpoint.split(", ")
    if len(checkpoints) > 1:
        return "ensemble"
    if checkpoints[0].startswith("random:"):
        return "random weights"
    if checkpoints[0] == run.generator_checkpoint:
        return "itself"
    return "same family" if run.config["verifier"]["family"] == run.family else "other family"


def knowledge(run: RunRecord) -> str:
    """The training of a run's verifier: the last part of its checkpoint's name."""
    if run.verifier_checkpoint.startswith("random:"):
        return KNOWLEDGE[0]
    parts = (name.split("/")[-1] for name in run.verifier_checkpoint.split(", "))
    return " + ".join(sort_names(parts, KNOWLEDGE))


def own_quality(runs: Iterable[RunRecord]) -> Interval3:
    """The verifier's own true quality (0 to 1) and its 95 % interval over prompts."""
    for run in runs:
        if run.verifier_quality is not None:
            prompts = np.array([pair.prompt_id for pair in run.pairs], dtype=object)
            mean = win_rate(np.array(run.verifier_quality, dtype=float), prompts)  # of values from 0 to 1
            return mean.rate / 100, mean.lo / 100, mean.hi / 100
    return nan, nan, nan


def shown_judge(runs: Sequence[RunRecord]) -> str:
    """The judge whose verdicts are shown: the oracle, or a panel's majority, or else the first one.

    Raises NothingToShow without a verdict.
    """
    judges = sort_names(verdicts_frame(runs)["judge"])
    if not judges:
        raise NothingToShow("none of the runs has a verdict")
    preferred = [j for j in judges if j == ORACLE] + [j for j in judges if j.endswith(f": {MAJORITY}")]
    return (preferred + judges)[0]


def oracle_tally(runs: Sequence[RunRecord], side: str) -> Tally | None:
    """True quality by prompt and run from the oracle's scores; None without an oracle."""
    frame = verdicts_frame(runs)
    frame = frame[(frame["judge"] == ORACLE) & frame[side].notna()]
    if frame.empty:
        return None
    index = np.asarray(frame["run_id"].map({run.run_id: i for i, run in enumerate(runs)}), dtype=np.int64)
    return tally(frame[side].to_numpy(float), frame["prompt_id"].to_numpy(object), index)


def across_seeds(difference: Contrast | None, unit: float = 1) -> Interval3:
    """A difference with its across-seed interval, divided by `unit`; NaN without one."""
    if difference is None:
        return nan, nan, nan
    return difference.difference / unit, difference.wide_lo / unit, difference.wide_hi / unit


def gain_text(difference: Contrast | None, unit: float = 100, decimals: int = 3) -> str:
    """A difference with its across-seed interval: of qualities by default, of percentages with unit 1 and 1 decimal."""
    value, lo, hi = across_seeds(difference, unit)
    return "n/a" if isnan(value) else f"{value:+.{decimals}f} {format_interval(lo, hi, decimals)}"


def gain_entry(outcome: Outcome, unit: float = 100, decimals: int = 3) -> Entry:
    """The gain with its across-seed interval."""
    gain = outcome.gain
    bold = gain is not None and interval_excludes(gain.wide_lo, gain.wide_hi, 0, gain.prompts)
    return Entry(gain_text(gain, unit, decimals), bold)


def win_entry(outcome: Outcome) -> Entry:
    """The win rate with its across-seed interval."""
    assert outcome.cell is not None
    win, seeds = outcome.cell.win, outcome.cell.seeds
    text = f"{format_percent(seeds.mean)} {format_interval(seeds.wide_lo, seeds.wide_hi)}"
    return Entry(text, bold=interval_excludes(seeds.wide_lo, seeds.wide_hi, 50, win.scored))


def claim_verdict(difference: Contrast) -> str:
    """The verdict on one difference, by the rule stated before the runs."""
    if isnan(difference.wide_lo):
        return f"not testable: fewer than {MIN_SEEDS} runs per side"
    if difference.prompts < FEW_PROMPTS:
        return f"not testable: fewer than {FEW_PROMPTS} prompts"
    if difference.wide_lo > 0:
        return "supported here"
    return "refuted here" if difference.wide_hi < 0 else "not supported"


def against_random(outcomes: Sequence[Outcome]) -> tuple[Outcome, Outcome, Contrast | None] | None:
    """The most able verifier, random weights, and their difference if it was measured; None without both of them."""
    able, chance = outcomes[-1], next((o for o in outcomes if o.relation == "random weights"), None)
    if chance is None or able is chance:
        return None
    if able.after is None or chance.after is None:
        return able, chance, None
    return able, chance, contrast(able.after, chance.after)


def dots(outcomes: Sequence[Outcome], values: Callable[[Outcome], Interval3]) -> list[Dot]:
    """One dot per outcome, in the style of the verifier's relation."""
    return [Dot(o.label, *values(o), o.style) for o in outcomes]


def result_panels(outcomes: Sequence[Outcome]) -> list[Panel]:
    """The policies' gains in true quality and their win rates, both with across-seed intervals."""

    def rate(of: Outcome) -> Interval3:
        assert of.cell is not None
        return of.cell.seeds.mean, of.cell.seeds.wide_lo, of.cell.seeds.wide_hi

    gains = dots(outcomes, lambda o: across_seeds(o.gain, 100))
    return [
        Panel("policy's gain in true quality", gains, 0),
        Panel("win rate against the\nuntrained model (%)", dots(outcomes, rate), 50),
    ]


def relation_legend(relations: Iterable[str]) -> dict[str, Style]:
    """The legend of the relations that are drawn."""
    return {name: RELATIONS[name] for name in sort_names(relations, tuple(RELATIONS))}

"""The results of training one generator with several verifiers: relation, own quality, gains; columns and panels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, isnan
from typing import Any, NamedTuple

import numpy as np

from analysis.experiments.base import GeneratorRuns, across_seeds, group_by_generator
from analysis.figures.forest import Dot, Level, Panel
from analysis.figures.style import CEILING, CUT_START, RELATIONS
from analysis.figures.win_rates import ControlsByPlace, controls_of, win_rate_dot
from analysis.records.builds import seed_names
from analysis.records.frames import verdicts_frame
from analysis.records.names import (
    add_details,
    display_name,
    method_names,
    order_key,
    sort_names,
    verifier_name,
)
from analysis.records.relations import CONTROLS, KNOWLEDGE, knowledge, relation
from analysis.sections.base import NothingToShow
from analysis.stats.contrasts import Contrast, paired_change
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.seeds import MIN_SEEDS
from analysis.stats.win_rates import Tally, tally, win_rate
from analysis.tables.accuracy import accuracy_frame, correct_by_prompt
from analysis.tables.cells import Cell, build_cells, row_of
from analysis.tables.judging.controlled import ORACLE
from analysis.tables.render import UNKNOWN, Column, Entry, Estimate
from cme.records import MAJORITY, RunRecord

CUT_ROW = "Cut start"


class Measure(NamedTuple):
    """What the verifiers' policies are compared by; `unit` is how many hundredths its unit has."""

    name: str
    unit: float
    decimals: int

    def across_seeds(self, difference: Contrast | None) -> Estimate:
        """A difference with its across-seed interval; unknown if it was not measured."""
        return UNKNOWN if difference is None else Estimate(*(x / self.unit for x in across_seeds(difference)))

    def text(self, difference: Contrast | None) -> str:
        """The same as text, such as +0.120 [0.080, 0.160]."""
        return self.across_seeds(difference).text(self.decimals)


QUALITY = Measure("true quality", 100, 3)
ACCURACY = Measure("pass@1", 1, 1)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of training one generator with one verifier.

    `before` and `after` hold the measure of the untrained model and of the policies by prompt and seed; None if it was
    not measured. `cell` has the win rate; `shares` is the row of `accuracy_frame` on mathematics.
    """

    label: str
    runs: Sequence[RunRecord]
    measure: Measure
    before: Tally | None = field(repr=False)
    after: Tally | None = field(repr=False)
    cell: Cell | None = None
    shares: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def relation(self) -> str:
        """The verifier's relation to the generator."""
        return relation(self.runs[0])

    @property
    def is_control(self) -> bool:
        """Whether the reward uses no verifier."""
        return self.relation in CONTROLS.values()

    @property
    def knowledge(self) -> str:
        """The training of the verifier."""
        return knowledge(self.runs[0])

    @cached_property
    def own(self) -> Estimate:
        """The verifier's own true quality (0 to 1)."""
        return own_quality(self.runs)

    @cached_property
    def gain(self) -> Contrast | None:
        """The policies' measure minus the untrained model's, in hundredths; None if it was not measured."""
        return None if self.after is None or self.before is None else paired_change(self.before, self.after)

    @property
    def win(self) -> Estimate:
        """The win rate with its across-seed interval; unknown without verdicts."""
        return across_seeds(self.cell.seeds) if self.cell else UNKNOWN

    @property
    def seed_gains(self) -> list[float]:
        """The gain of each seed's policy, in the unit of the measure; empty if it was not measured."""
        if self.after is None or self.before is None:
            return []
        gains = (self.after.sums - self.before.sums).sum(axis=0) / self.after.counts.sum(axis=0)
        return [float(gain) for gain in 100 * gains / self.measure.unit]

    @property
    def seed_shares(self) -> list[float]:
        """Pass@1 of each seed's policy, in percent; empty if it was not measured."""
        if self.after is None:
            return []
        return [float(share) for share in 100 * self.after.sums.sum(axis=0) / self.after.counts.sum(axis=0)]

    def share(self, when: str) -> Estimate:
        """Pass@1 `before` or `after` training, in percent."""
        return Estimate.from_row(self.shares, when).percent

    @property
    def row(self) -> dict[str, Any]:
        """The verifier's properties, and the cell if there is one, as a row of a frame."""
        about = {"relation": self.relation, "knowledge": self.knowledge}
        own = {"own_quality": self.own.value, "own_lo": self.own.lo, "own_hi": self.own.hi}
        return about | own | (row_of(self.cell) if self.cell else {})


@dataclass(frozen=True, eq=False)
class GeneratorOutcomes(GeneratorRuns):
    """The results of one generator at one scale, from the least able verifier to the most able one."""

    outcomes: Sequence[Outcome]

    @property
    def judge(self) -> str:
        """The judge of the win rates, empty on mathematics."""
        return cell.judge if (cell := self.outcomes[0].cell) else ""

    @cached_property
    def controls(self) -> ControlsByPlace:
        """The controls of the win rates, over the runs of all verifiers; empty on mathematics."""
        cells = [outcome.cell for outcome in self.outcomes if outcome.cell]
        return controls_of(cells) if cells else {}

    @property
    def rows(self) -> dict[str, str]:
        """The rows of a figure, the cut start last."""
        labels = [outcome.label for outcome in self.outcomes]
        cut = [CUT_ROW] if any(each.cut_start for each in self.controls.values()) else []
        return {label: label for label in (*labels, *cut)}


def quality_views(runs: Sequence[RunRecord]) -> list[GeneratorOutcomes]:
    """The outcomes of each generator. Raises NothingToShow without a verdict."""
    return [GeneratorOutcomes(name, own, quality_outcomes(own)) for name, own in group_by_generator(runs)]


def quality_outcomes(runs: Sequence[RunRecord]) -> list[Outcome]:
    """The outcomes of one generator's runs, from the least able verifier to the most able one.

    They are under the oracle, or a panel's majority, or else the first judge. Raises NothingToShow without a verdict.
    """
    judges = sort_names(verdicts_frame(runs)["judge"])
    if not judges:
        raise NothingToShow("none of the runs has a verdict")
    majorities = (judge for judge in judges if judge.endswith(f": {MAJORITY}"))
    shown = ORACLE if ORACLE in judges else next(majorities, judges[0])
    names, found = verifier_labels(runs), []
    for cell in (cell for cell in build_cells(runs) if cell.judge == shown):
        before, after = oracle_tallies(cell.controls.runs)
        found.append(Outcome(names[cell.runs[0]], cell.controls.runs, QUALITY, before, after, cell))
    return sort_by_ability(found)


def accuracy_views(runs: Sequence[RunRecord]) -> list[GeneratorOutcomes]:
    """The outcomes of each generator and reward on mathematics. Raises NothingToShow without any graded run."""
    graded = [run for run in runs if run.accuracy is not None]
    if not graded:
        raise NothingToShow("none of the runs is graded")
    views = []
    for name, own in group_by_generator(graded):
        rewards = list(dict.fromkeys(run.reward for run in own if run.reward not in CONTROLS)) or [""]
        for reward in rewards:
            compared = [run for run in own if run.reward in (reward, *CONTROLS)]
            shown = f"{name}, {display_name(reward)}" if len(rewards) > 1 else name
            views.append(GeneratorOutcomes(shown, compared, accuracy_outcomes(compared)))
    return views


def accuracy_outcomes(runs: Sequence[RunRecord]) -> list[Outcome]:
    """The outcomes on mathematics of one generator's graded runs, from the least able verifier to the most able one."""
    names, found = verifier_labels(runs), []
    for name in dict.fromkeys(names.values()):
        own = [run for run in runs if names[run.run_id] == name]
        [shares] = [row for row in accuracy_frame(own).to_dict("records") if row["policy"] == "final"]
        before, after = correct_by_prompt(own) if shares["prompts"] else (None, None)
        found.append(Outcome(name, own, ACCURACY, before, after, shares=shares))
    return sort_by_ability(found)


def sort_by_ability(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Controls without a verifier, then random weights, then by the verifiers' own quality, or by knowledge.

    By knowledge if any quality is unknown. An ensemble has no quality of its own and comes last.
    """
    single = [one for one in outcomes if not one.is_control and one.relation != "ensemble"]
    known = not any(isnan(one.own.value) for one in single)

    def ability(one: Outcome) -> tuple[int, float, tuple[int, str], str]:
        own = one.own.value if known and one in single else inf
        first = 0 if one.is_control else 1 if one.relation == "random weights" else 2
        return first, own, order_key(one.knowledge, KNOWLEDGE), one.label

    return sorted(outcomes, key=ability)


def verifier_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """A label per run id: its verifier, with the settings that tell its runs apart, such as `Ensemble (mean)`.

    With several rewards it is the full method name.
    """
    names = method_names(runs)
    methods: dict[str, set[str]] = {}
    for run in (trained := [run for run in runs if run.reward not in CONTROLS]):
        methods.setdefault(run.verifier, set()).add(names[run.run_id])

    def label(run: RunRecord) -> str:
        if run.reward in CONTROLS:
            return add_details(display_name(run.reward), ["no verifier"])
        verifier, method = verifier_name(run.verifier), names[run.run_id]
        if len(methods[run.verifier]) == 1:
            return verifier
        settings = method.removeprefix(f"{display_name(run.reward)} ({verifier}, ")
        several_rewards = len({run.reward for run in trained}) > 1
        return method if settings == method or several_rewards else f"{verifier} ({settings}"

    return {run.run_id: label(run) for run in runs}


def own_quality(runs: Iterable[RunRecord]) -> Estimate:
    """A verifier's own true quality (0 to 1), its builds pooled, and its 95 % interval over prompts."""
    graded = {run.build: run for run in runs if run.verifier_quality is not None}.values()
    if not graded:
        return UNKNOWN
    values = np.array([quality for run in graded for quality in run.verifier_quality or []])  # from 0 to 1
    prompts = np.array([pair.prompt_id for run in graded for pair in run.pairs], dtype=object)
    mean = win_rate(values, prompts)
    return Estimate(mean.rate / 100, mean.lo / 100, mean.hi / 100)


def oracle_tallies(runs: Sequence[RunRecord]) -> tuple[Tally, Tally] | tuple[None, None]:
    """True quality of start and policy by prompt and seed, from the oracle's scores; None without an oracle."""
    frame = verdicts_frame(runs)
    frame = frame[frame["judge"] == ORACLE]
    start, policy = frame["score_start"].to_numpy(float), frame["score_policy"].to_numpy(float)
    if np.isnan(start + policy).all():
        return None, None
    prompts, seeds = frame["prompt_id"].to_numpy(object), frame["seed"].to_numpy(int)
    return tally(start, prompts, seeds), tally(policy, prompts, seeds)


def gain_entry(one: Outcome) -> Entry:
    """The gain with its across-seed interval."""
    _, lo, hi = one.measure.across_seeds(one.gain)
    bold = one.gain is not None and interval_excludes(lo, hi, 0, one.gain.prompts, one.measure.decimals)
    return Entry(one.measure.text(one.gain), bold)


OutcomeColumn = Column[Outcome]
SEEDS_NOTE = (
    f"In brackets: across-seed 95 % intervals (for other seeds and other prompts), [n/a] below {MIN_SEEDS} seeds. "
    f"Bold: the interval excludes no effect, on {FEW_PROMPTS} prompts or more."
)
VERIFIER_COLUMNS = (
    OutcomeColumn("verifier", lambda one: one.label),
    OutcomeColumn("relation", lambda one: one.relation),
    OutcomeColumn(
        "its own quality",
        lambda one: f"({one.knowledge})" if isnan(one.own.value) else one.own.text(3, ""),
        "Its own quality: true quality (0 to 1) of the verifier's own greedy responses to the evaluation prompts, with "
        "the 95 % interval over prompts; if the record does not have it, the training of the verifier's checkpoint, "
        "which then also gives the order.",
    ),
    OutcomeColumn("seeds", lambda one: seed_names(sorted(run.seed for run in one.runs))),
)


def panel(
    label: str,
    outcomes: Sequence[Outcome],
    values: Callable[[Outcome], Estimate],
    reference: float | None = None,
    seeds: Callable[[Outcome], Sequence[float]] = lambda _: (),
) -> Panel:
    """An estimate per outcome, in the style of the verifier's relation; hollow if its interval covers the reference.

    `seeds` gives the estimates of single seeds.
    """
    dots = []
    for one in outcomes:
        value, lo, hi = values(one)
        hollow = reference is not None and lo <= reference <= hi
        dots.append(Dot(one.label, value, lo, hi, RELATIONS[one.relation], hollow, seeds=seeds(one)))
    return Panel(label, dots, reference)


def gain_panel(label: str, outcomes: Sequence[Outcome]) -> Panel:
    """The policies' gains with across-seed intervals."""
    gains = panel(
        label, outcomes, lambda one: one.measure.across_seeds(one.gain), 0, lambda one: one.seed_gains
    )
    return replace(gains, decimals=outcomes[0].measure.decimals)


def win_panel(view: GeneratorOutcomes) -> Panel:
    """The policies' win rates with across-seed intervals, the cut start in its row, and the ceiling across all."""

    def seeds(one: Outcome) -> list[float]:
        return list(one.cell.seeds.rates.values()) if one.cell else []

    label = "win rate against the\nuntrained model (%)"
    wins = panel(label, view.outcomes, lambda one: one.win, 50, seeds)
    controls = view.controls.values()
    cuts = [win_rate_dot(CUT_ROW, each.cut_start, CUT_START) for each in controls if each.cut_start]
    levels = [Level([*view.rows], each.ceiling, CEILING) for each in controls]
    return replace(wins, dots=[*wins.dots, *cuts], levels=levels)

"""The results of training one generator with several verifiers: relation, own quality and gains; their panels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, isnan
from typing import Any

import numpy as np

from analysis.experiments.base import GeneratorRuns, across_seeds, group_by_generator
from analysis.figures.forest import Dot, Level, Panel
from analysis.figures.style import CEILING, CUT_START, RELATIONS, Style
from analysis.figures.win_rates import ControlsByPlace, controls_of, win_rate_dot
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
from analysis.stats.win_rates import Tally, tally, win_rate
from analysis.tables.accuracy import accuracy_frame, correct_by_prompt
from analysis.tables.cells import Cell, build_cells, row_of
from analysis.tables.judging.controlled import ORACLE
from analysis.tables.render import UNKNOWN, Estimate
from cme.records import MAJORITY, RunRecord

CUT_ROW = "Cut start"


@dataclass(frozen=True, eq=False)
class VerifierOutcome:
    """The result of training one generator with one verifier.

    `before` and `after` hold true quality (0 to 1), or whether answers are right on mathematics, of the untrained model
    and of the policies by prompt and seed; None if it was not measured. `cell` has the win rate; on mathematics it is
    None, and `shares` is the row of `accuracy_frame`.
    """

    label: str
    runs: Sequence[RunRecord]
    before: Tally | None
    after: Tally | None
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

    @property
    def decimals(self) -> int:
        """Decimals of a difference: of true quality, or of pass@1 in percentage points."""
        return 3 if self.cell else 1

    def across_seeds(self, difference: Contrast | None) -> Estimate:
        """A difference of true quality (-1 to 1), or of pass@1 in points, with its across-seed interval."""
        if difference is None:
            return UNKNOWN
        return Estimate(*(value / (100 if self.cell else 1) for value in across_seeds(difference)))

    @cached_property
    def change(self) -> Contrast | None:
        """What the policies have more than the untrained model, in hundredths; None if it was not measured."""
        return None if self.after is None or self.before is None else paired_change(self.before, self.after)

    @property
    def gain(self) -> Estimate:
        """The same with its across-seed interval, in the unit of the measure."""
        return self.across_seeds(self.change)

    @property
    def seed_gains(self) -> list[float]:
        """The gain of each seed's policy, in the unit of the measure; empty if it was not measured."""
        if self.after is None or self.before is None:
            return []
        gains = (self.after.sums - self.before.sums).sum(axis=0) / self.after.counts.sum(axis=0)
        return [float(gain) for gain in 100 * gains / (100 if self.cell else 1)]

    @property
    def win(self) -> Estimate:
        """The win rate with its across-seed interval; unknown without verdicts."""
        return across_seeds(self.cell.seeds) if self.cell else UNKNOWN

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

    outcomes: Sequence[VerifierOutcome]

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

    def legend(self, also: Iterable[str] = ()) -> dict[str, Style]:
        """The styles of the relations that are drawn, and of others."""
        drawn = {one.relation for one in self.outcomes} | set(also)
        return {name: style for name, style in RELATIONS.items() if name in drawn}


def quality_views(runs: Sequence[RunRecord]) -> list[GeneratorOutcomes]:
    """The outcomes of each generator. Raises NothingToShow without a verdict."""
    return [GeneratorOutcomes(name, own, quality_outcomes(own)) for name, own in group_by_generator(runs)]


def quality_outcomes(runs: Sequence[RunRecord]) -> list[VerifierOutcome]:
    """The outcomes of one generator's runs, from the least able verifier to the most able one.

    Win rates are under the oracle, or a panel's majority, or else the first judge; true quality is the oracle's score.
    Raises NothingToShow without a verdict.
    """
    judges = sort_names(verdicts_frame(runs)["judge"])
    if not judges:
        raise NothingToShow("none of the runs has a verdict")
    majorities = (judge for judge in judges if judge.endswith(f": {MAJORITY}"))
    shown = ORACLE if ORACLE in judges else next(majorities, judges[0])
    names, found = verifier_labels(runs), []
    for cell in (cell for cell in build_cells(runs) if cell.judge == shown):
        verdicts = verdicts_frame(cell.controls.runs)
        verdicts = verdicts[verdicts["judge"] == ORACLE]
        prompts, seeds = verdicts["prompt_id"].to_numpy(object), verdicts["seed"].to_numpy(int)
        scores = [verdicts[f"score_{side}"].to_numpy(float) for side in ("start", "policy")]
        before, after = (tally(values, prompts, seeds) for values in scores)
        outcome = VerifierOutcome(names[cell.runs[0]], cell.controls.runs, before, after, cell)
        known = not np.isnan(scores[0] + scores[1]).all()
        found.append(outcome if known else replace(outcome, before=None, after=None))
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


def accuracy_outcomes(runs: Sequence[RunRecord]) -> list[VerifierOutcome]:
    """The outcomes on mathematics of one generator's graded runs, from the least able verifier to the most able one."""
    names, found = verifier_labels(runs), []
    for name in dict.fromkeys(names.values()):
        own = [run for run in runs if names[run.run_id] == name]
        [shares] = [row for row in accuracy_frame(own).to_dict("records") if row["policy"] == "final"]
        before, after = correct_by_prompt(own) if shares["prompts"] else (None, None)
        found.append(VerifierOutcome(name, own, before, after, shares=shares))
    return sort_by_ability(found)


def sort_by_ability(outcomes: Sequence[VerifierOutcome]) -> list[VerifierOutcome]:
    """Controls without a verifier, then random weights, then by the verifiers' own quality, or by knowledge.

    By knowledge if any quality is unknown. An ensemble has no quality of its own and comes last.
    """
    single = [one for one in outcomes if not one.is_control and one.relation != "ensemble"]
    known = not any(isnan(one.own.value) for one in single)

    def ability(one: VerifierOutcome) -> tuple[int, float, tuple[int, str], str]:
        own = one.own.value if known and one in single else inf
        first = 0 if one.is_control else 1 if one.relation == "random weights" else 2
        return first, own, order_key(one.knowledge, KNOWLEDGE), one.label

    return sorted(outcomes, key=ability)


def verifier_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """A label per run id: its verifier, with the settings that tell its runs apart, such as `Ensemble (mean)`.

    With several rewards it is the full method name.
    """
    names = method_names(runs)
    trained = [run for run in runs if run.reward not in CONTROLS]
    several_rewards = len({run.reward for run in trained}) > 1

    def label(run: RunRecord) -> str:
        if run.reward in CONTROLS:
            return add_details(display_name(run.reward), ["no verifier"])
        verifier, method = verifier_name(run.verifier), names[run.run_id]
        if len({names[other.run_id] for other in trained if other.verifier == run.verifier}) == 1:
            return verifier
        settings = method.removeprefix(f"{display_name(run.reward)} ({verifier}, ")
        return method if settings == method or several_rewards else f"{verifier} ({settings}"

    return {run.run_id: label(run) for run in runs}


def own_quality(runs: Iterable[RunRecord]) -> Estimate:
    """A verifier's own true quality (0 to 1), its builds pooled, and its 95 % interval over prompts."""
    graded = {run.build: run for run in runs if run.verifier_quality is not None}.values()
    if not graded:
        return UNKNOWN
    values = np.array([quality for run in graded for quality in run.verifier_quality or []])
    prompts = np.array([pair.prompt_id for run in graded for pair in run.pairs], dtype=object)
    mean = win_rate(values, prompts)
    return Estimate(mean.rate / 100, mean.lo / 100, mean.hi / 100)


def outcome_panel(
    label: str,
    outcomes: Sequence[VerifierOutcome],
    values: Callable[[VerifierOutcome], Estimate],
    reference: float | None = None,
    seeds: Callable[[VerifierOutcome], Sequence[float]] = lambda _: (),
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


def gain_panel(label: str, outcomes: Sequence[VerifierOutcome]) -> Panel:
    """The policies' gains with across-seed intervals."""
    gains = outcome_panel(label, outcomes, lambda one: one.gain, 0, lambda one: one.seed_gains)
    return replace(gains, decimals=outcomes[0].decimals)


def win_panel(view: GeneratorOutcomes) -> Panel:
    """The policies' win rates with across-seed intervals, the cut start in its row, and the ceiling across all."""

    def seeds(one: VerifierOutcome) -> list[float]:
        return list(one.cell.seeds.rates.values()) if one.cell else []

    label = "win rate against the\nuntrained model (%)"
    wins = outcome_panel(label, view.outcomes, lambda one: one.win, 50, seeds)
    controls = view.controls.values()
    cuts = [win_rate_dot(CUT_ROW, each.cut_start, CUT_START) for each in controls if each.cut_start]
    levels = [Level([*view.rows], each.ceiling, CEILING) for each in controls]
    return replace(wins, dots=[*wins.dots, *cuts], levels=levels)

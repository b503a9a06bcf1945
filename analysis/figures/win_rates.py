"""Win rates with their intervals, single seeds and controls: all methods in a panel per family, and the main result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isnan, nan

from analysis.figures.forest import Block, Dot, Level, Panel, forest
from analysis.figures.style import (
    ACROSS_SEEDS,
    CEILING,
    CUT_START,
    UNTRAINED,
    Plot,
    Style,
    method_styles,
    reward_style,
)
from analysis.records.grouping import group_by
from analysis.records.names import REGIMES, display_name, family_name, judge_label, regime_name, sort_names
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.seeds import MIN_SEEDS
from analysis.stats.win_rates import WinRate, is_undecided
from analysis.tables.cell_tables import method_key
from analysis.tables.cells import Cell
from analysis.tables.controls import Controls
from analysis.tables.findings import CONTROLS
from analysis.tables.render import slug
from analysis.tables.win_rates import score_name, side_names
from cme.records import RunRecord

CUT_NOTE = (
    "Cut start: the untrained model's own responses, cut at their first sentence end, against the uncut ones; a method "
    "that wins no more has shown only that it ends earlier."
)
CEILING_NOTE = "Black bar: the ceiling, the win rate of a perfect policy on the same prompts."
TICKS = "ticks are single seeds, a longer tick several with the same rate"
SCORE_UNITS = {
    "oracle": "0 to 1",
    "instruction_following": "0 to 1",
    "instruction_following_own_words": "0 to 1",
    "reference_similarity": "cosine",
}
"""Units of the judges' scores."""


ControlsByPlace = Mapping[tuple[str, str], Controls]
"""The controls of each generator, by family and regime; none for one without any."""
NO_CONTROLS: ControlsByPlace = {}


def controls_of(cells: Sequence[Cell]) -> ControlsByPlace:
    """The known controls of each family and regime under one judge, over the runs of all its methods and builds."""
    pooled = {
        place: Controls([run for cell in own for run in cell.controls.runs], cells[0].judge)
        for place, own in group_by(cells, lambda cell: (cell.family, cell.regime)).items()
    }
    return {
        place: each for place, each in pooled.items() if each.cut_start is not None or not isnan(each.ceiling)
    }


def win_rate_dot(row: str, win: WinRate, style: Style) -> Dot:
    """A win rate with its interval over prompts, hollow if it shows no difference from 50 %."""
    return Dot(row, win.rate, win.lo, win.hi, style, hollow=is_undecided(win))


def cell_dot(cell: Cell, row: str, style: Style) -> Dot:
    """A cell's win rate with ticks at single seeds; † if a run stopped early."""
    seeds = list(cell.seeds.rates.values())
    return replace(win_rate_dot(row, cell.win, style), seeds=seeds, stopped=bool(cell.stopped))


def score_dots(cell: Cell, row: str, style: Style) -> list[Dot]:
    """The mean score of the policy's responses with the interval of its gain, and that of the untrained model's.

    The policy's is hollow if the gain's interval, as the tables print it, covers 0.
    """
    if (change := cell.quality) is None:
        return []
    ends, path = (change.start + change.lo, change.start + change.hi), (change.start, change.policy)
    start = Dot(row, change.start, nan, nan, UNTRAINED, size=4.5)
    hollow = not interval_excludes(change.lo, change.hi, 0, change.prompts, decimals=2)
    return [start, Dot(row, change.policy, *ends, style, hollow=hollow, wide=path)]


def score_panel(judge: str, dots: Sequence[Dot]) -> Panel:
    """The judge's scores of the responses, before and after training."""
    unit = SCORE_UNITS.get(judge.split(": ")[-1], "judge's unit")
    return Panel(f"{score_name(judge)} of the\nresponses ({unit})", dots)


def score_note(judge: str) -> str:
    """The sentence of a caption on the panel of scores."""
    return (
        f" Right: mean {score_name(judge)} of the untrained model's responses (gray) and of the policy's, joined by a "
        "thin line; the bar at the latter is the 95 % interval of their paired difference. Filled: it excludes 0."
    )


def control_notes(controls: ControlsByPlace) -> str:
    """The sentences of a caption on the controls that are drawn."""
    notes = {"cut start": f" {CUT_NOTE}", "ceiling": f" {CEILING_NOTE}"}
    return "".join(notes[name] for name in control_legend(controls))


def control_legend(controls: ControlsByPlace) -> dict[str, Style]:
    """The legend's entries for the controls that are drawn."""
    cut = {"cut start": CUT_START} if any(each.cut_start for each in controls.values()) else {}
    return cut | ({} if all(isnan(each.ceiling) for each in controls.values()) else {"ceiling": CEILING})


def ceiling_legend(controls: ControlsByPlace) -> dict[str, Style]:
    """The legend's entry for the ceiling, where the cut start has a row with its name."""
    return {name: style for name, style in control_legend(controls).items() if name == "ceiling"}


def builds_note(trainings: Iterable[tuple[str, RunRecord]]) -> str:
    """The sentence of a caption on methods that pool several builds of the models where others have one, or none."""
    builds: dict[str, set[int]] = {}
    for method, run in trainings:
        builds.setdefault(method, set()).add(run.build)
    numbers = {method: len(own) for method, own in builds.items()}
    if len(set(numbers.values())) < 2:
        return ""
    several = ", ".join(f"{method} pools {number}" for method, number in numbers.items() if number > 1)
    return f" Builds of the models: {several}, like seeds; the other methods have one."


def win_rate_plot(
    cells: Sequence[Cell], title: str = "Win rates", controls: ControlsByPlace = NO_CONTROLS
) -> Plot:
    """Win rates with intervals: methods as rows, grouped by regime, with the cut start below, a panel per family.

    With a single family, the judge's scores of the responses have a panel too.
    """
    scale, judge, side = cells[0].scale, cells[0].judge, side_names(cells)[0]
    styles = method_styles({cell.method: cell.reward for cell in sorted(cells, key=method_key)})
    rows: dict[str, str] = {}
    for regime in sort_names((cell.regime for cell in cells), REGIMES):
        present = {cell.method for cell in cells if cell.regime == regime}
        rows |= {regime: regime_name(regime)} | {f"{regime}\n{m}": m for m in styles if m in present}
        if any(control.cut_start for (_, at), control in controls.items() if at == regime):
            rows[f"{regime}\ncut start"] = "Cut start"
    families = sort_names(cell.family for cell in cells)
    panels = [family_panel(family, cells, rows, styles, controls) for family in families]
    scores = [dot for cell in cells for dot in score_dots(cell, row_of(cell), styles[cell.method])]
    label = f"win rate against the {side} (%)"
    if scored := len(families) == 1 and scale != "imported" and bool(scores):
        panels = [replace(panels[0], label=label.replace("the ", "the\n")), score_panel(judge, scores)]
        block = Block("", rows, panels, widths=[3, 2])
    else:
        block = Block("", rows, panels, x_label=label, share_x=True)
    pooled = builds_note((cell.method, run) for cell in cells for run in cell.controls.runs)
    caption = (
        f"Win rates at scale {scale}, judge {judge_label(judge)}. Each dot is the share of comparisons with the {side} "
        "that the policy won; ties count half and all seeds are pooled. The bar is the 95 % interval over prompts, for "
        f"these models; {TICKS}. Right of the dashed line the policy won more often. Filled: the interval excludes "
        f"50 %. Hollow: the cell shows no difference, because the interval covers 50 %, has fewer than {FEW_PROMPTS} "
        "prompts, or unscored verdicts could change the result. †: a run stopped before its last step."
        f"{control_notes(controls)}{pooled}{score_note(judge) if scored else ''}"
    )
    legend = ceiling_legend(controls) | ({"untrained model": UNTRAINED} if scored else {})
    figure = forest(f"{title} (scale: {scale}, judge: {judge_label(judge)})", [block], legend)
    return Plot(f"win-rates-{slug(scale)}-{slug(judge)}", caption, figure)


def row_of(cell: Cell) -> str:
    """The row of a cell among those of its regime."""
    return f"{cell.regime}\n{cell.method}"


def family_panel(
    family: str,
    cells: Sequence[Cell],
    rows: Mapping[str, str],
    styles: Mapping[str, Style],
    controls: ControlsByPlace,
) -> Panel:
    """One family's win rates, with the cut start in its row and the ceiling across the rows of a regime."""
    own = [cell for cell in cells if cell.family == family]
    dots = [cell_dot(cell, row_of(cell), styles[cell.method]) for cell in own]
    levels = []
    for regime in dict.fromkeys(cell.regime for cell in own):
        if control := controls.get((family, regime)):
            of_regime = [row for row in rows if row.startswith(f"{regime}\n")]
            levels.append(Level(of_regime, control.ceiling, CEILING))
            if control.cut_start is not None:
                dots.append(win_rate_dot(f"{regime}\ncut start", control.cut_start, CUT_START))
    return Panel("", dots, 50, family_name(family), limits=(30, 70), levels=levels)


def main_plot(
    name: str,
    cells: Sequence[Cell],
    published: tuple[float, float],
    source: str,
    controls: ControlsByPlace = NO_CONTROLS,
) -> Plot:
    """Win rate of CME by family and regime with its controls below it, next to the judge's score of the responses.

    The random reward and the ground truth are drawn small in the row of their generator; cells of other rewards are
    not drawn. `published` is the range of the published win rates, in percent.
    """
    scale, judge = cells[0].scale, cells[0].judge
    shown = [cell for cell in cells if cell.reward == "cme"] or list(cells)
    others = [cell for cell in cells if cell.reward in CONTROLS and cell not in shown]
    rows: dict[str, str] = {}
    rates, scores, levels = [], [], []
    for family in sort_names(cell.family for cell in cells):
        rows[family] = family_name(family)
        for cell in (cell for cell in shown if cell.family == family):
            row, style = f"{family}\n{cell.regime}\n{cell.method}", reward_style(cell.reward)
            rows[row] = f"{regime_name(cell.regime)} {details(cell)}".strip()
            same = [
                c for c in others if (c.family, c.regime, details(c)) == (family, cell.regime, details(cell))
            ]
            small = [replace(cell_dot(c, row, reward_style(c.reward)), stopped=False) for c in same]
            if control := controls.get((family, cell.regime)):
                levels.append(Level([row], control.ceiling, CEILING))
                small += [win_rate_dot(row, control.cut_start, CUT_START)] if control.cut_start else []
            raised = -0.24 * bool(same or control)
            wide = (cell.seeds.across_seeds_lo, cell.seeds.across_seeds_hi)
            rates.append(replace(cell_dot(cell, row, style), wide=wide, below=raised))
            rates += lowered(small)
            scores += [replace(dot, below=-0.24 * bool(same)) for dot in score_dots(cell, row, style)]
            scores += lowered([dot for c in same for dot in score_dots(c, row, reward_style(c.reward))[1:]])
    where = "the paper's scale" if scale == "paper" else "other scale"
    band = (*published, f"published range,\n{where}")
    label = f"win rate against the\n{side_names(cells)[0]} (%)"
    panels = [Panel(label, rates, 50, limits=(30, 75), levels=levels, band=band)]
    panels += [score_panel(judge, scores)] if scores else []
    below, widths = bool(others or controls), [3, 2][: len(panels)]
    block = Block("", rows, panels, above=0.3, height=0.44 if below else 0.2, ruled=below, widths=widths)
    legend = {display_name(cell.reward): reward_style(cell.reward) for cell in [*shown, *others]}
    legend |= control_legend(controls) | ({"untrained model": UNTRAINED} if scores else {})
    if not all(isnan(bound) for dot in rates for bound in dot.wide):
        legend[f"across-seed interval{' (left)' * bool(scores)}"] = ACROSS_SEEDS
    figure = forest(
        f"CME against its untrained model (scale: {scale}, judge: {judge_label(judge)})", [block], legend
    )
    caption = (
        f"CME against its untrained model at scale {scale}, judge {judge_label(judge)}, all seeds pooled. Left: win "
        "rate. The thick bar is its 95 % interval over prompts, for these models; the thin bar is the across-seed "
        f"interval (from {MIN_SEEDS} seeds on); {TICKS}. Filled: the thick bar excludes 50 % (dashed). Gray band: the "
        f"range of the published win rates, {published[0]} to {published[1]} % ({source}, other models, prompts and "
        "judges; compare its side of 50 %, not its size). †: a run stopped before its last step."
        f"{control_notes(controls)}"
    )
    if others:
        names = sort_names(display_name(cell.reward) for cell in others)
        caption += f" Small marks below: {', '.join(names)}, trained and judged in the same way."
    caption += builds_note((cell.method, run) for cell in [*shown, *others] for run in cell.controls.runs)
    return Plot(name, caption + (score_note(judge) if scores else ""), figure)


def lowered(dots: Sequence[Dot]) -> list[Dot]:
    """The dots, small and one below the other in the lower half of their row, with ticks of seeds on their bars."""
    return [replace(dot, below=0.12 + 0.12 * n, size=3.4, seeds_below=0) for n, dot in enumerate(dots)]


def details(cell: Cell) -> str:
    """What a cell's method adds to the name of its reward, such as `(build 2)`; empty for the reward alone."""
    return cell.method.removeprefix(display_name(cell.reward)).strip()

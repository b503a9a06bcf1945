"""Win rates with their intervals, single seeds and controls: all methods in a panel per family, and the main result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from analysis.figures.forest import Block, Dot, Level, Panel, forest
from analysis.figures.style import CEILING, CUT_START, UNTRAINED, Plot, Style, method_styles, reward_style
from analysis.records.names import REGIMES, display_name, family_name, judge_label, regime_name, sort_names
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import MIN_SEEDS, WinRate, is_undecided
from analysis.tables import controls as tables
from analysis.tables.cells import Cell
from analysis.tables.findings import CONTROLS
from analysis.tables.render import slug
from analysis.tables.win_rates import method_key, score_name, side_names
from cme.records import RunRecord

CUT_NOTE = (
    "Cut start: the untrained model's own responses, cut at their first sentence end, against the uncut ones; a method "
    "that wins no more has shown only that it ends earlier."
)
CEILING_NOTE = "Black bar: the ceiling, the win rate of a perfect policy on the same prompts."


@dataclass(frozen=True)
class Control:
    """What a win rate of one generator is read against.

    `cut_start` is the win rate of the untrained model's cut responses against the untrained model, None if it was not
    measured; `ceiling` is the win rate of a perfect policy in percent, NaN if the truth is unknown. `label` tells
    several builds of a generator apart.
    """

    cut_start: WinRate | None
    ceiling: float
    label: str = ""


Controls = Mapping[tuple[str, str], Sequence[Control]]
"""By family and regime, the controls of each build of the generator."""
NO_CONTROLS: Controls = {}


def controls_of(cells: Sequence[Cell]) -> Controls:
    """The known controls of each family and regime under one judge, over the runs of all its methods and builds."""
    runs: dict[tuple[str, str], list[RunRecord]] = {}
    for cell in cells:
        runs.setdefault((cell.family, cell.regime), []).extend(cell.controls.runs)
    pooled = {place: tables.Controls(own, cells[0].judge) for place, own in runs.items()}
    return {
        place: [Control(each.cut_start, each.ceiling)]
        for place, each in pooled.items()
        if each.cut_start is not None or not isnan(each.ceiling)
    }


def win_rate_dot(row: str, win: WinRate, style: Style) -> Dot:
    """A win rate with its interval over prompts, hollow if it shows no difference from 50 %."""
    return Dot(row, win.rate, win.lo, win.hi, style, hollow=is_undecided(win))


def cell_dot(cell: Cell, row: str, style: Style) -> Dot:
    """A cell's win rate with ticks at single seeds; † if a run stopped early."""
    seeds = list(cell.seeds.rates.values())
    return replace(win_rate_dot(row, cell.win, style), seeds=seeds, note="†" if cell.stopped else "")


def control_notes(controls: Controls) -> str:
    """The sentences of a caption on the controls that are drawn."""
    each = [control for of_place in controls.values() for control in of_place]
    cut = f" {CUT_NOTE}" if any(control.cut_start for control in each) else ""
    return cut + (f" {CEILING_NOTE}" if not all(isnan(control.ceiling) for control in each) else "")


def control_legend(controls: Controls) -> dict[str, Style]:
    """The legend's entries for the controls that are drawn."""
    each = [control for of_place in controls.values() for control in of_place]
    cut = {"cut start": CUT_START} if any(control.cut_start for control in each) else {}
    return cut | ({} if all(isnan(control.ceiling) for control in each) else {"ceiling": CEILING})


def win_rate_plot(cells: Sequence[Cell], title: str = "Win rates", controls: Controls = NO_CONTROLS) -> Plot:
    """Win rates with intervals: families as panels, methods as rows, grouped by regime, with the cut start below."""
    scale, judge = cells[0].scale, judge_label(cells[0].judge)
    styles = method_styles({cell.method: cell.reward for cell in sorted(cells, key=method_key)})
    families = sort_names(cell.family for cell in cells)
    rows: dict[str, str] = {}
    for regime in sort_names((cell.regime for cell in cells), REGIMES):
        present = {cell.method for cell in cells if cell.regime == regime}
        rows |= {regime: regime_name(regime)} | {f"{regime}\n{m}": m for m in styles if m in present}
        measured = [c for f in families for c in controls.get((f, regime), []) if c.cut_start is not None]
        rows |= {f"{regime}\ncut start {c.label}": f"Cut start {c.label}".strip() for c in measured}
    panels = []
    for family in families:
        own = [cell for cell in cells if cell.family == family]
        dots = [cell_dot(cell, f"{cell.regime}\n{cell.method}", styles[cell.method]) for cell in own]
        levels = []
        for regime in dict.fromkeys(cell.regime for cell in own):
            for control in controls.get((family, regime), []):
                if control.cut_start is not None:
                    row = f"{regime}\ncut start {control.label}"
                    dots.append(win_rate_dot(row, control.cut_start, CUT_START))
                if not isnan(control.ceiling):
                    of_regime = [row for row in rows if row.startswith(f"{regime}\n")]
                    levels.append(Level(of_regime, control.ceiling, CEILING))
        panels.append(Panel("", dots, 50, family_name(family), limits=(30, 70), levels=levels))
    heads = [row for row in rows if "\n" not in row]
    label = f"win rate against the {side_names(cells)[0]} (%)"
    block = Block("", rows, panels, heads, x_label=label, height=0.19, share_x=True)
    caption = (
        f"Win rates at scale {scale}, judge {judge}. Each dot is the share of comparisons with the "
        f"{side_names(cells)[0]} that the policy won; ties count half and all seeds are pooled. The bar is the 95 % "
        "interval over prompts, for these models; ticks are single seeds. Right of the dashed line the policy won more "
        "often. Filled: the interval excludes 50 %. Hollow: the cell shows no difference, because the interval covers "
        f"50 %, has fewer than {FEW_PROMPTS} prompts, or unscored verdicts could change the result. †: a run stopped "
        f"before its last step.{control_notes(controls)}"
    )
    legend = {name: style for name, style in control_legend(controls).items() if name == "ceiling"}
    figure = forest(f"{title} (scale: {scale}, judge: {judge})", [block], legend)
    return Plot(f"win-rates-{slug(scale)}-{slug(cells[0].judge)}", caption, figure)


def main_plot(
    name: str,
    cells: Sequence[Cell],
    published: tuple[float, float],
    source: str,
    controls: Controls = NO_CONTROLS,
) -> Plot:
    """Win rate of CME by family and regime with its controls below it, next to the judge's score of the responses.

    The random reward and the ground truth are drawn small in the row of their generator; cells of other rewards are
    not drawn. `published` is the range of the published win rates, in percent.
    """
    scale, judge = cells[0].scale, judge_label(cells[0].judge)
    shown = [cell for cell in cells if cell.reward == "cme"] or list(cells)
    others = [cell for cell in cells if cell.reward in CONTROLS and cell not in shown]
    rows: dict[str, str] = {}
    rates, scores, levels = [], [], []
    for family in sort_names(cell.family for cell in cells):
        rows[family] = family_name(family)
        for cell in (cell for cell in shown if cell.family == family):
            row = f"{family}\n{cell.regime}\n{cell.method}"
            rows[row] = f"{regime_name(cell.regime)} {details(cell)}".strip()
            beside = [
                c for c in others if (c.family, c.regime, details(c)) == (family, cell.regime, details(cell))
            ]
            of_build = controls.get((family, cell.regime), [])
            of_build = [c for c in of_build if c.label == details(cell)] or of_build[:1]
            raised = -0.24 * bool(beside or of_build)
            wide = (cell.seeds.across_seeds_lo, cell.seeds.across_seeds_hi)
            rates.append(replace(cell_dot(cell, row, reward_style(cell.reward)), wide=wide, below=raised))
            small = [win_rate_dot(row, c.win, reward_style(c.reward)) for c in beside]
            small += [win_rate_dot(row, c.cut_start, CUT_START) for c in of_build if c.cut_start]
            rates += [replace(dot, below=0.12 + 0.12 * n, size=3.4) for n, dot in enumerate(small)]
            levels += [Level([row], c.ceiling, CEILING) for c in of_build if not isnan(c.ceiling)]
            if (change := cell.quality) is not None:
                path = (change.start, change.policy)
                ends = change.start + change.lo, change.start + change.hi
                scores.append(Dot(row, change.policy, *ends, reward_style(cell.reward), wide=path))
                scores.append(Dot(row, change.start, nan, nan, UNTRAINED, size=4.5))
    where = "the paper's scale" if scale == "paper" else "other scale"
    band = (*published, f"published range,\n{where}")
    label = f"win rate against the\n{side_names(cells)[0]} (%)"
    panels = [Panel(label, rates, 50, limits=(30, 75), levels=levels, band=band)]
    if scores:
        panels.append(Panel(f"{score_name(judge)} of the responses:\nstart → policy", scores))
    heads = [row for row in rows if "\n" not in row]
    height = 0.4 if others or controls else 0.2
    widths = [3, 2][: len(panels)]
    block = Block(
        "", rows, panels, heads, above=0.3, height=height, ruled=bool(others or controls), widths=widths
    )
    legend = {display_name(cell.reward): reward_style(cell.reward) for cell in [*shown, *others]}
    legend |= control_legend(controls) | ({"untrained model": UNTRAINED} if scores else {})
    figure = forest(f"CME against its untrained model (scale: {scale}, judge: {judge})", [block], legend)
    caption = (
        f"CME against its untrained model at scale {scale}, judge {judge}, all seeds pooled. Left: win rate. The thick "
        "bar is its 95 % interval over prompts, for these models; the thin bar is the across-seed interval (from "
        f"{MIN_SEEDS} seeds on); ticks are single seeds. Filled: the thick bar excludes 50 % (dashed). Gray band: the "
        f"range of the published win rates, {published[0]} to {published[1]} % ({source}, other models, prompts and "
        "judges; compare its side of 50 %, not its size). †: a run stopped before its last step."
        f"{control_notes(controls)}"
    )
    if others:
        names = sort_names(display_name(cell.reward) for cell in others)
        caption += f" Small marks below: {', '.join(names)}, trained and judged in the same way."
    if scores:
        caption += (
            f" Right: mean {score_name(judge)} of the untrained model's (gray) and of the policy's responses, joined "
            "by a thin line; the bar at the latter is the 95 % interval of their paired difference."
        )
    return Plot(name, caption, figure)


def details(cell: Cell) -> str:
    """What a cell's method adds to the name of its reward, such as `(build 2)`; empty for the reward alone."""
    return cell.method.removeprefix(display_name(cell.reward)).strip()

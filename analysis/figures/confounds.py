"""The figure of one scale: how much of the gain of Cross-Model Entropy is left under each control, judge by judge."""

from collections.abc import Mapping, Sequence
from math import isnan

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import RC, WIDTH, Plot, Style
from analysis.records.names import REGIMES, sort_names
from analysis.stats.logistic import Controlled
from analysis.tables.confounds import RAW, ControlledCell
from analysis.tables.judge_bias import ORACLE, known_truth, recipe, simulated_cells
from analysis.tables.render import slug
from analysis.tables.win_rates import side_names

REWARDS = ("cme", "imported")  # the second is what outputs made elsewhere have for a reward
STYLES = {
    RAW: Style("#000000", "o", ()),
    "length": Style("#E69F00", "s", ()),
    "surprisal": Style("#0072B2", "^", ()),
    "both": Style("#009E73", "D", ()),
}
TRUTH = "#CC79A7"
SHOWN = ("truth + length", "truth + likelihood")
"""The simulated judges beside the oracle."""
LINE = 0.055  # inches from mark to mark
STEP = LINE * len(STYLES) + 0.05  # and from cell to cell

Places = Mapping[tuple[str, str, str], float]
"""Heights of rows by regime, family and method."""


def confound_plot(cells: Sequence[ControlledCell]) -> Plot | None:
    """Win rates of one scale by control: judges as columns, regimes as rows. Cells of `cme`, or imported; None without.

    Where the oracle judged, its win rate is the truth: it is marked in every panel, and judges with a taste are
    simulated beside it.
    """
    own = [each for each in cells if each.judged.cell.reward in REWARDS]
    if not own:
        return None
    judges, scale = judges_of(own), own[0].judged.cell.scale
    truth = {place(each): each.rates[RAW].rate for each in judges.get(ORACLE, [])}
    regimes = sort_names((each.judged.cell.regime for each in own), REGIMES)
    rows = [rows_of(own, regime) for regime in regimes]
    with rc_context(RC):
        inches = [STEP * len(of_regime) for of_regime in rows]
        size = (WIDTH, 1.15 + sum(inches) + 0.45 * len(inches))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(rows),
            len(judges),
            sharex="row",
            sharey="row",
            squeeze=False,
            gridspec_kw={"height_ratios": inches},
        )
        for regime, height, row in zip(regimes, rows, panels, strict=True):
            for shown, axes in zip(judges.values(), row, strict=True):
                draw_panel(axes, [each for each in shown if place(each) in height], height, truth)
            row[0].set_yticks(list(height.values()), [place_name(each) for each in height])
            row[0].set_ylim(min(height.values()) - STEP / 2, STEP / 2)
            row[0].set_ylabel(regime, fontweight="bold")
            low, high = row[0].get_xlim()
            row[0].set_xlim(min(low, 40.0), max(high, 60.0))
        for judge, axes in zip(judges, panels[0], strict=True):
            axes.set_title(f"simulated judge:\n{judge}" if judge in SHOWN else f"judge: {judge}")
        panels[-1, len(judges) // 2].set_xlabel(f"win rate against the {side_names(scale)[0]} (%)")
        figure.suptitle(f"{subject(scale)}, raw and controlled (scale: {scale})")
        figure.legend(handles=legend(judges), loc="outside lower center", ncols=6)
    return Plot(f"confounds-{slug(scale)}", caption(scale, judges), figure)


def judges_of(cells: Sequence[ControlledCell]) -> dict[str, list[ControlledCell]]:
    """The cells by judge, the oracle first; behind it, where the truth is known, the simulated judges."""
    panels: dict[str, list[ControlledCell]] = {}
    for judge in sort_names((each.judged.cell.judge for each in cells), (ORACLE,)):
        panels[judge] = [each for each in cells if each.judged.cell.judge == judge]
        if known := known_truth([each.judged for each in panels[judge]]):
            panels |= {name: simulated_cells(known, name) for name in SHOWN}
    return panels


def rows_of(cells: Sequence[ControlledCell], regime: str) -> Places:
    """Where each family and method of a regime stands, in inches below the first."""
    rows = sorted({place(each) for each in cells if each.judged.cell.regime == regime})
    return {row: -index * STEP for index, row in enumerate(rows)}


def place(each: ControlledCell) -> tuple[str, str, str]:
    """The row of a cell."""
    cell = each.judged.cell
    return cell.regime, cell.family, cell.method


def place_name(row: tuple[str, str, str]) -> str:
    """What a row is called: `gemma`, or `gemma, granularity=token` for a method told apart by that."""
    details = row[2].partition(" (")[2].removesuffix(")")
    return f"{row[1]}, {details}" if details else row[1]


def draw_panel(axes: Axes, cells: Sequence[ControlledCell], height: Places, truth: Places) -> None:
    """One judge's cells of a regime: for each a mark and bar by control, and a bar across at the truth.

    An extrapolated rate is hollow; where there is no rate there is nothing.
    """
    axes.axvline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    for row in (row for row in height if row in truth):  # a set has an order of its own in every process
        reach = LINE * len(STYLES) / 2
        axes.vlines(truth[row], height[row] - reach, height[row] + reach, color=TRUTH, linewidth=3)
    for index, (control, style) in enumerate(STYLES.items()):
        shift = LINE * ((len(STYLES) - 1) / 2 - index)
        rates = [(each.rates[control], height[place(each)] + shift) for each in cells]
        known = [(rate, y) for rate, y in rates if rate.reason is None]
        draw_rates(axes, [(rate, y) for rate, y in known if not rate.extrapolated], style)
        draw_rates(axes, [(rate, y) for rate, y in known if rate.extrapolated], style, hollow=True)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def draw_rates(
    axes: Axes, rates: Sequence[tuple[Controlled, float]], style: Style, hollow: bool = False
) -> None:
    """Marks at rates and heights, on their intervals unless they are hollow."""
    if not rates:  # an empty collection of lines has no extent, and the layout then fails
        return
    heights = [y for _, y in rates]
    if not hollow:
        lows, highs = zip(*((rate.lo, rate.hi) for rate, _ in rates), strict=True)
        axes.hlines(heights, lows, highs, color=style.colour, linewidth=1)
    axes.plot(
        [rate.rate for rate, _ in rates],
        heights,
        style.marker,
        color=style.colour,
        markerfacecolor="white" if hollow else style.colour,
        markersize=3.2,
        markeredgewidth=0.7,
        clip_on=False,
    )


def legend(judges: Mapping[str, Sequence[ControlledCell]]) -> list[Line2D]:
    """What the marks mean, of those that are there."""
    cells = [each for shown in judges.values() for each in shown]
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=4, label=control)
        for control, style in STYLES.items()
        if any(not isnan(each.rates[control].rate) for each in cells)
    ]
    if any(each.rates[control].extrapolated for each in cells for control in STYLES):
        handles.append(
            Line2D(
                [],
                [],
                color="#444444",
                marker="o",
                markerfacecolor="white",
                linestyle="",
                label="extrapolated",
            )
        )
    if ORACLE in judges:
        handles.append(
            Line2D(
                [], [], color=TRUTH, marker="|", markersize=9, markeredgewidth=3, linestyle="", label="truth"
            )
        )
    return handles


def subject(scale: str) -> str:
    """Whose win rates the figure of a scale shows."""
    return "Win rates" if scale == "imported" else "Win rates of CME"


def caption(scale: str, judges: Mapping[str, Sequence[ControlledCell]]) -> str:
    """How to read the figure."""
    text = (
        f"{subject(scale)} at scale {scale} by judge: raw, and at no difference in length (AlpacaEval 2.0's form), in "
        "surprisal under an independent language model, and in both, with 95 % intervals. Each regime has an axis of "
        "its own. Hollow: extrapolated, fewer than 2.5 % of the pairs lying at no difference or beyond it; such a mark "
        "is no result and shows only how far off one can be. No mark: no estimate."
    )
    if ORACLE not in judges:
        return text
    text = (
        f"{text} The bar across a row is the truth, the oracle's own win rate: from 50 % to it is quality, from it to "
        "another judge's raw rate is that judge's taste, and how far a control lands from it is the control's error."
    )
    if not any(name in judges for name in SHOWN):
        return text
    return (
        f"{text} Simulated judges see quality and have a taste beside: {'; '.join(map(recipe, SHOWN))} (logits); they "
        "judge the pairs whose surprisal is known."
    )

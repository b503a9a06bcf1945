"""The figures of one scale, each a function of cells or of the history frame, each with its caption."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from analysis.figures.curves import (
    WINDOW,
    add_derived_columns,
    draw_curve,
    draw_quality_path,
    finish_grid,
    group_by_method,
    mark_empty_panel,
    panel_grid,
    styles_by_method,
)
from analysis.figures.style import RC, WIDTH, Style, method_styles, reward_style
from analysis.records.names import REGIMES, REWARDS, sort_names
from analysis.stats.metrics import FEW_PROMPTS, is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from analysis.tables.win_rates import method_key, side_names

CURVES = {
    "quality": "true quality\n(0 to 1)",
    "heldout": "held-out verifier\n(nats/token)",
    "length": "length\n(tokens)",
    "kl": "KL from start\n(nats/response)",
}
UNITS = {
    "cme": "nats/token",
    "reverse_kl": "nats/token",
    "self_certainty": "nats/token",
    "semantic_entropy": "share",
    "token_entropy": "nats/token",
    "token_entropy_last": "nats/token",
    "token_entropy_format": "nats/token",
    "self_likelihood": "nats/token",
    "majority_vote": "share",
    "ground_truth": "0 to 1",
    "length": "up to 1",
    "format": "0 or 1",
    "random": "0 or 1",
}
REGIME_LINES = (Style("black", "o", ()), Style("black", "s", (4, 1.5)), Style("black", "^", (1, 1)))
SMOOTHING_NOTE = f"Lines are means over seeds, each seed first smoothed over {WINDOW} steps"


@dataclass(frozen=True)
class Plot:
    """A drawn figure with the name of its files and the caption that explains how to read it."""

    name: str
    caption: str
    figure: Figure

    def save(self, directory: Path) -> Path:
        """Write PNG and SVG, the same bytes for the same data; returns the path of the PNG."""
        directory.mkdir(parents=True, exist_ok=True)
        png = directory / f"{self.name}.png"
        with rc_context(RC):
            self.figure.savefig(png, dpi=200, metadata={"Software": None})
            self.figure.savefig(png.with_suffix(".svg"), metadata={"Date": None})
        return png


def build_figures(cells: Sequence[Cell], history: pd.DataFrame) -> list[Plot]:
    """Every figure of one scale for which there is data."""
    plots = [
        win_rate_plot([cell for cell in cells if cell.judge == judge])
        for judge in sort_names(c.judge for c in cells)
    ]
    if len(history):
        history = add_derived_columns(history)
        rewarded = history.dropna(subset=["reward_value"])  # DPO and SFT train on none
        if len(rewarded):
            plots.append(trained_reward_plot(rewarded))
        curved = history.dropna(subset=list(CURVES), how="all")
        plots += [training_curve_plot(history, family) for family in sort_names(curved["family"])]
        plots += overoptimisation_plots(history)
    return plots


def win_rate_plot(cells: Sequence[Cell]) -> Plot:
    """Dot and interval for each method: families as panels, regimes as groups of rows."""
    scale, judge = cells[0].scale, cells[0].judge
    families = sort_names(cell.family for cell in cells)
    styles = method_styles({cell.method: cell.reward for cell in sorted(cells, key=method_key)})
    rows: list[tuple[str, str | None]] = []
    for regime in sort_names((cell.regime for cell in cells), REGIMES):
        present = {cell.method for cell in cells if cell.regime == regime}
        rows += [(regime, None), *((regime, method) for method in styles if method in present)]
    height = {row: -index for index, row in enumerate(rows)}
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.17 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(families), sharex=True, sharey=True, squeeze=False)[0]
        for family, axes in zip(families, panels, strict=True):
            axes.axvline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
            for cell in (cell for cell in cells if cell.family == family):
                draw_interval(axes, cell, height[cell.regime, cell.method], styles[cell.method])
            axes.set_title(family)
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(list(height.values()), [method or regime for regime, method in rows])
        for tick, (_, method) in zip(panels[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("normal" if method else "bold")
        panels[0].set_ylim(0.3 - len(rows), 0.7)
        figure.supxlabel(f"win rate against the {side_names(scale)[0]} (%)", fontsize=8)
        span = min(30.0, panels[0].get_xlim()[0]), max(70.0, panels[0].get_xlim()[1])  # ticks beside 50
        panels[0].set_xlim(span)
        panels[0].xaxis.set_major_locator(MultipleLocator(20 if span[1] - span[0] > 40 else 10, offset=10))
        figure.suptitle(f"Win rates (scale: {scale}, judge: {judge})")
    caption = (
        f"Win rates at scale {scale}, judge {judge}. Each dot is the share of comparisons with the "
        f"{side_names(scale)[0]} that the policy won, a tie counting half, all seeds pooled; the bar is its 95 % "
        "interval over prompts, for these models. Right of the dashed line the policy won more often. Filled: the "
        f"interval excludes 50 %; hollow: it does not, or rests on fewer than {FEW_PROMPTS} prompts, or unscored "
        "verdicts could change it, so the cell shows no difference. †: a run stopped before its last step."
    )
    return Plot(f"win-rates-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_interval(axes: Axes, cell: Cell, y: float, style: Style) -> None:
    """One cell's win rate as a dot on its interval; nothing where no verdict is scored."""
    win = cell.win
    if isnan(win.rate):
        return
    face = "white" if is_undecided(win) else style.colour
    axes.plot([win.lo, win.hi], [y, y], color=style.colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot(win.rate, y, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=5)
    if cell.stopped:
        axes.annotate(
            "†", (np.nanmax([win.hi, win.rate]), y), (3, 0), textcoords="offset points", va="center"
        )


def trained_reward_plot(history: pd.DataFrame) -> Plot:
    """The reward that each run was trained on, in its own unit: rewards as rows, families as columns."""
    scale = history["scale"].iloc[0]
    rewards, families = sort_names(history["reward"], REWARDS), sort_names(history["family"])
    lines = dict(zip(sort_names(history["regime"], REGIMES), cycle(REGIME_LINES)))
    with rc_context(RC):
        figure, panels = panel_grid(len(rewards), len(families), 0.95, lines)
        for reward, row in zip(rewards, panels, strict=True):
            for family, axes in zip(families, row, strict=True):
                own = history[(history["reward"] == reward) & (history["family"] == family)]
                for (regime, _), runs in own.groupby(["regime", "method"]):
                    style = replace(lines[str(regime)], colour=reward_style(reward).colour)
                    draw_curve(axes, runs, "reward_value", style)
                mark_empty_panel(axes)
            row[0].set_ylabel(f"{reward}\n({UNITS.get(reward, 'own unit')})")
        finish_grid(figure, panels, families, "training step", f"Trained reward (scale: {scale})", lines)
    caption = (
        f"The reward each run was trained on, at scale {scale}, in that reward's own unit: compare along a "
        f"row, never down a column. {SMOOTHING_NOTE}; the band spans the lowest and highest seed; a cross marks a "
        "run that stopped early; runs under different verifiers or settings are lines of their own. A reward "
        "that rises says only that the policy learnt it; whether quality rose is in the next figures."
    )
    return Plot(f"trained-rewards-{slug(scale)}", caption, figure)


def training_curve_plot(history: pd.DataFrame, family: str) -> Plot:
    """Quality, held-out likelihood, length and KL over training: metrics as rows, regimes as columns."""
    scale = history["scale"].iloc[0]
    history = history[history["family"] == family]
    regimes = sort_names(history["regime"], REGIMES)
    measured = [column for column in CURVES if history[column].notna().any()]
    missing = [column for column in CURVES if column not in measured]
    styles = styles_by_method(history)
    with rc_context(RC):
        figure, panels = panel_grid(len(measured), len(regimes), 1.25, styles)
        for column, row in zip(measured, panels, strict=True):
            for regime, axes in zip(regimes, row, strict=True):
                for method, same in group_by_method(history[history["regime"] == regime]):
                    draw_curve(axes, same, column, styles[method])
                mark_empty_panel(axes)
            row[0].set_ylabel(CURVES[column])
        title = f"Training of {family} (scale: {scale})"
        finish_grid(figure, panels, regimes, "training step", title, styles)
    caption = (
        f"Training of {family} at scale {scale}, by regime. {SMOOTHING_NOTE}; the band spans the lowest and "
        "highest seed; a cross marks a run that stopped early. The held-out verifier's likelihood is "
        "monitored, never trained on: likelihood that rises without quality is over-optimisation."
    )
    if missing:
        caption += f" Not measured here, so left out: {', '.join(missing)}."
    return Plot(f"training-{slug(scale)}-{slug(family)}", caption, figure)


def overoptimisation_plots(history: pd.DataFrame) -> list[Plot]:
    """True quality against the reward gained and against sqrt(KL); no plot where either is unmeasured."""
    scale = history["scale"].iloc[0]
    axes_of_x = {
        "reward_gain": (
            "reward gained (SD of the start's rewards)",
            "reward gained since the first steps, in standard deviations of the start's rewards",
        ),
        "sqrt_kl": ("√KL from start (√nats)", "the square root of the KL divergence from the start"),
    }
    plots = []
    for column, (x_label, in_words) in axes_of_x.items():
        measured = history.loc[history[column].notna() & history["quality"].notna(), "method"]
        if measured.empty:
            continue
        shown = history[history["method"].isin(measured)]
        caption = (
            f"True quality against {in_words}, at scale {scale}: the path of training from the "
            f"open dot (start) to the filled marker (end). {SMOOTHING_NOTE}. A path that rises and then falls "
            "as it moves right shows a reward optimised beyond the quality it stands for (Gao et al. 2023)."
        )
        plots.append(
            Plot(f"overoptimisation-{slug(column)}-{slug(scale)}", caption, paths(shown, column, x_label))
        )
    return plots


def paths(history: pd.DataFrame, column: str, x_label: str) -> Figure:
    """Quality against a column along training: regimes as rows, families as columns."""
    families, regimes = sort_names(history["family"]), sort_names(history["regime"], REGIMES)
    styles = styles_by_method(history)
    with rc_context(RC):
        figure, panels = panel_grid(len(regimes), len(families), 1.3, styles)
        for regime, row in zip(regimes, panels, strict=True):
            for family, axes in zip(families, row, strict=True):
                runs = history[(history["regime"] == regime) & (history["family"] == family)]
                for method, same in group_by_method(runs):
                    draw_quality_path(axes, same, column, styles[method])
                mark_empty_panel(axes)
            row[0].set_ylabel(f"{regime}\ntrue quality (0 to 1)")
        title = f"True quality against {x_label.split(' (')[0]} (scale: {history['scale'].iloc[0]})"
        finish_grid(figure, panels, families, x_label, title, styles)
    return figure

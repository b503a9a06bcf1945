"""The figures of one scale: win rates, and training curves by reward, family and regime."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from math import nan

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import (
    BAND_NOTE,
    CURVES,
    SMOOTHING_NOTE,
    add_derived_columns,
    curve_grid,
    draw_curve,
    draw_quality_path,
    styles_by_method,
    training_plot,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style, method_styles, reward_style
from analysis.records.names import REGIMES, REWARDS, display_name, sort_names
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import MIN_SEEDS, is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from analysis.tables.win_rates import method_key, score_name, side_names

UNITS = {
    **dict.fromkeys(("cme", "reverse_kl", "self_certainty", "self_likelihood"), "nats/token"),
    **dict.fromkeys(("token_entropy", "token_entropy_last", "token_entropy_format"), "nats/token"),
    **dict.fromkeys(("semantic_entropy", "majority_vote"), "share"),
    **dict.fromkeys(("format", "random"), "0 or 1"),
    "ground_truth": "0 to 1",
    "length": "up to 1",
}
REGIME_LINES = (Style("black", "o"), Style("black", "s", (4, 1.5)), Style("black", "^", (1, 1)))


def build_figures(cells: Sequence[Cell], history: pd.DataFrame) -> list[Plot]:
    """Every figure of one scale for which there is data."""
    judges = sort_names(cell.judge for cell in cells)
    plots = [win_rate_plot([cell for cell in cells if cell.judge == judge]) for judge in judges]
    if len(history):
        history = add_derived_columns(history)
        rewarded = history.dropna(subset=["reward_value"])  # DPO and SFT have no reward in training
        if len(rewarded):
            plots.append(trained_reward_plot(rewarded))
        curved = history.dropna(subset=list(CURVES), how="all")
        plots += [family_plot(history, family) for family in sort_names(curved["family"])]
        plots += overoptimisation_plots(history)
    return plots


def cell_dot(cell: Cell, row: str, style: Style) -> Dot:
    """A cell's win rate with its interval over prompts: hollow if it shows no difference, † if a run stopped early."""
    win = cell.win
    return Dot(
        row, win.rate, win.lo, win.hi, style, hollow=is_undecided(win), note="†" if cell.stopped else ""
    )


def win_rate_plot(cells: Sequence[Cell], title: str = "Win rates") -> Plot:
    """Win rates with intervals: families as panels, methods as rows, grouped by regime."""
    scale, judge = cells[0].scale, cells[0].judge
    styles = method_styles({cell.method: cell.reward for cell in sorted(cells, key=method_key)})
    rows: dict[str, str] = {}
    for regime in sort_names((cell.regime for cell in cells), REGIMES):
        present = {cell.method for cell in cells if cell.regime == regime}
        rows |= {regime: regime} | {f"{regime}\n{m}": m for m in styles if m in present}
    panels = []
    for family in sort_names(cell.family for cell in cells):
        own = [cell for cell in cells if cell.family == family]
        dots = [cell_dot(cell, f"{cell.regime}\n{cell.method}", styles[cell.method]) for cell in own]
        panels.append(Panel("", dots, 50, family, limits=(30, 70)))
    heads = [row for row in rows if "\n" not in row]
    label = f"win rate against the {side_names(cells)[0]} (%)"
    block = Block("", rows, panels, heads, x_label=label, height=0.17, share_x=True)
    caption = (
        f"Win rates at scale {scale}, judge {judge}. Each dot is the share of comparisons with the "
        f"{side_names(cells)[0]} that the policy won; ties count half and all seeds are pooled. The bar is the 95 % "
        "interval over prompts, for these models. Right of the dashed line the policy won more often. Filled: the "
        "interval excludes 50 %. Hollow: the cell shows no difference, because the interval covers 50 %, has fewer "
        f"than {FEW_PROMPTS} prompts, or unscored verdicts could change the result. †: a run stopped before its last "
        "step."
    )
    figure = forest(f"{title} (scale: {scale}, judge: {judge})", [block], {})
    return Plot(f"win-rates-{slug(scale)}-{slug(judge)}", caption, figure)


def main_plot(name: str, cells: Sequence[Cell], published: tuple[float, float], source: str) -> Plot:
    """Win rate with its intervals by family and regime, next to the judge's score before and after training.

    `published` is the range of the published win rates, in percent.
    """
    scale, judge = cells[0].scale, cells[0].judge
    several = len({cell.method for cell in cells}) > 1
    rows: dict[str, str] = {}
    rates, scores = [], []
    for family in sort_names(cell.family for cell in cells):
        rows[family] = family
        for cell in (cell for cell in cells if cell.family == family):
            row, style, seeds = (
                f"{family}\n{cell.regime}\n{cell.method}",
                reward_style(cell.reward),
                cell.seeds,
            )
            rows[row] = f"{cell.regime} {cell.method}" if several else cell.regime
            wide = (seeds.across_seeds_lo, seeds.across_seeds_hi)
            rates.append(replace(cell_dot(cell, row, style), wide=wide, seeds=list(seeds.rates.values())))
            if (change := cell.quality) is not None:
                path = (change.start, change.policy)
                scores.append(Dot(row, change.start, nan, nan, style, hollow=True, wide=path, size=4.5))
                ends = change.start + change.lo, change.start + change.hi
                scores.append(Dot(row, change.policy, *ends, style))
    band = (
        *published,
        "published range,\nthe paper's scale" if scale == "paper" else "published range,\nother scale",
    )
    panels = [
        Panel(f"win rate against the\n{side_names(cells)[0]} (%)", rates, 50, limits=(30, 75), band=band)
    ]
    if scores:
        panels.append(Panel(f"{score_name(judge)} of the responses:\nstart → policy", scores))
    heads = [row for row in rows if "\n" not in row]
    block = Block("", rows, panels, heads, above=0.3, widths=[3, 2][: len(panels)])
    figure = forest(f"CME against its untrained model (scale: {scale}, judge: {judge})", [block], {})
    caption = (
        f"CME against its untrained model at scale {scale}, judge {judge}, all seeds pooled. Left: win rate. The thick "
        "bar is its 95 % interval over prompts, for these models; the thin bar is the across-seed interval (from "
        f"{MIN_SEEDS} seeds on); ticks are single seeds. Filled: the thick bar excludes 50 % (dashed). Gray: the range "
        f"of the published win rates, {published[0]} to {published[1]} % ({source}, other models, prompts and judges; "
        "compare its side of 50 %, not its size). †: a run stopped before its last step."
    )
    if scores:
        caption += (
            f" Right: mean {score_name(judge)} of the untrained model's (open) and of the policy's responses (filled), "
            "joined by a thin line; the bar at the latter is the 95 % interval of their paired difference."
        )
    return Plot(name, caption, figure)


def trained_reward_plot(history: pd.DataFrame) -> Plot:
    """The reward that each run was trained on, in its own unit: rewards as rows, families as columns."""
    scale = history["scale"].iloc[0]
    regimes = dict(zip(sort_names(history["regime"], REGIMES), cycle(REGIME_LINES)))

    def draw(axes: Axes, reward: str, family: str) -> None:
        own = history[(history["reward"] == reward) & (history["family"] == family)]
        for (regime, _), runs in own.groupby(["regime", "method"]):
            style = replace(regimes[str(regime)], colour=reward_style(reward).colour)
            draw_curve(axes, runs, "reward_value", style)

    rewards = {
        r: f"{display_name(r)}\n({UNITS.get(r, 'own unit')})" for r in sort_names(history["reward"], REWARDS)
    }
    families = {family: family for family in sort_names(history["family"])}
    title = f"Trained reward (scale: {scale})"
    figure = curve_grid(title, rewards, families, draw, regimes, height=0.95)
    caption = (
        f"The reward that each run was trained on, at scale {scale}. Every reward has its own unit: compare within a "
        f"row, never between rows. {SMOOTHING_NOTE}; {BAND_NOTE}; runs with different verifiers or settings have "
        "separate lines. A rising reward only shows that the policy learnt it; the next figures show whether quality "
        "rose."
    )
    return Plot(f"trained-rewards-{slug(scale)}", caption, figure)


def family_plot(history: pd.DataFrame, family: str) -> Plot:
    """Quality, held-out likelihood, length and KL over training: measures as rows, regimes as columns."""
    scale, history = history["scale"].iloc[0], history[history["family"] == family]
    regimes = sort_names(history["regime"], REGIMES)
    panels = {regime: history[history["regime"] == regime] for regime in regimes}
    name, title = f"training-{slug(scale)}-{slug(family)}", f"Training of {family} (scale: {scale})"
    return training_plot(name, title, panels, styles_by_method(history))


def overoptimisation_plots(history: pd.DataFrame) -> list[Plot]:
    """True quality against the reward gained and against the root of KL, each only if both axes are measured."""
    axes_of_x = {
        "reward_gain": (
            "reward gained (SD of the first rewards)",
            "the reward gained since the first steps, in standard deviations of the first rewards",
        ),
        "sqrt_kl": ("√KL from the start (√nats)", "the square root of the KL divergence from the start"),
    }
    plots = []
    for column, (x_label, in_words) in axes_of_x.items():
        measured = history.loc[history[column].notna() & history["quality"].notna(), "method"]
        if len(measured):
            plots.append(path_plot(history[history["method"].isin(measured)], column, x_label, in_words))
    return plots


def path_plot(history: pd.DataFrame, column: str, x_label: str, in_words: str) -> Plot:
    """True quality against a column along training: regimes as rows, families as columns."""
    scale, styles = history["scale"].iloc[0], styles_by_method(history)

    def draw(axes: Axes, regime: str, family: str) -> None:
        own = history[(history["regime"] == regime) & (history["family"] == family)]
        for method, style in styles.items():
            draw_quality_path(axes, own[own["method"] == method], column, style)

    regimes = {
        regime: f"{regime}\ntrue quality (0 to 1)" for regime in sort_names(history["regime"], REGIMES)
    }
    families = {family: family for family in sort_names(history["family"])}
    title = f"True quality against {x_label.split(' (')[0]} (scale: {scale})"
    figure = curve_grid(title, regimes, families, draw, styles, x_label, height=1.3)
    caption = (
        f"True quality against {in_words}, at scale {scale}: the path of training from the open dot (start) to the "
        f"filled marker (end). {SMOOTHING_NOTE}. A path that rises and then falls as it moves right shows a reward "
        "optimised beyond the quality it stands for (Gao et al. 2023)."
    )
    return Plot(f"overoptimisation-{slug(column)}-{slug(scale)}", caption, figure)

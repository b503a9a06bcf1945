"""The figures of one scale: win rates, and training curves by reward, family and regime."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import (
    BAND_NOTE,
    CURVES,
    SMOOTHING_NOTE,
    add_derived_columns,
    curve_grid,
    draw_curve,
    stop_mark,
    styles_by_method,
    training_plot,
)
from analysis.figures.paths import overoptimisation_plots
from analysis.figures.style import Plot, Style, reward_style
from analysis.figures.win_rates import controls_of, win_rate_plot
from analysis.records.names import REGIMES, REWARDS, SHOWN, display_name, family_name, regime_name, sort_names
from analysis.tables.cells import Cell, group_by_judge
from analysis.tables.render import slug

REGIME_LINES = (Style("black", "o"), Style("black", "s", (4, 1.5)), Style("black", "^", (1, 1)))


def build_figures(cells: Sequence[Cell], history: pd.DataFrame) -> list[Plot]:
    """Every figure of one scale for which there is data."""
    judges = group_by_judge(cells).values()
    plots = [win_rate_plot(judged, controls=controls_of(judged)) for judged in judges]
    if len(history):
        history = add_derived_columns(history)
        rewarded = history.dropna(subset=["reward_value"])  # DPO and SFT have no reward in training
        if len(rewarded):
            plots.append(trained_reward_plot(rewarded))
        curved = history.dropna(subset=list(CURVES), how="all")
        plots += [family_plot(history, family) for family in sort_names(curved["family"])]
        plots += overoptimisation_plots(history)
    return plots


def trained_reward_plot(history: pd.DataFrame) -> Plot:
    """The reward that each run was trained on, in its own unit: rewards as rows, families as columns."""
    scale = history["scale"].iloc[0]
    regimes = dict(zip(sort_names(history["regime"], REGIMES), cycle(REGIME_LINES)))

    def draw(axes: Axes, reward: str, family: str) -> None:
        own = history[(history["reward"] == reward) & (history["family"] == family)]
        for (regime, _), runs in own.groupby(["regime", "method"]):
            style = replace(regimes[str(regime)], colour=reward_style(reward).colour)
            draw_curve(axes, runs, "reward_value", style)

    rewards = {}
    for reward in sort_names(history["reward"], REWARDS):
        unit = SHOWN[reward]["unit"] if reward in SHOWN else ""
        rewards[reward] = f"{fill(display_name(reward), 12)}\n({unit or 'own unit'})"
    families = {family: family_name(family) for family in sort_names(history["family"])}
    title = f"Trained reward (scale: {scale})"
    lines = {regime_name(regime): line for regime, line in regimes.items()}
    figure = curve_grid(title, rewards, families, draw, lines, stop_mark(history), height=0.95)
    caption = (
        f"The reward that each run was trained on, at scale {scale}. Every reward has its own unit: compare within a "
        f"row, never between rows. {SMOOTHING_NOTE}; {BAND_NOTE}; runs with different verifiers or settings have "
        "separate lines, and equal lines hide each other, as those of the random reward, which has the same draws in "
        "every regime. A rising reward only shows that the policy learnt it; the next figures show whether quality "
        "rose."
    )
    return Plot(f"trained-rewards-{slug(scale)}", caption, figure)


def family_plot(history: pd.DataFrame, family: str) -> Plot:
    """Quality, held-out likelihood, length and KL over training: measures as rows, regimes as columns."""
    scale, history = history["scale"].iloc[0], history[history["family"] == family]
    regimes = sort_names(history["regime"], REGIMES)
    panels = {regime_name(regime): history[history["regime"] == regime] for regime in regimes}
    title = f"Training of {family_name(family)} (scale: {scale})"
    return training_plot(f"training-{slug(scale)}-{slug(family)}", title, panels, styles_by_method(history))

"""The weight of the KL penalty: how far the policy drifts, and what it gains on the way."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.experiments._settings import (
    LENGTH_NOTE,
    Compared,
    Extra,
    at_end,
    end_of,
    length_of,
    setting_tables,
    training_plots,
    written,
)
from analysis.figures.curves import draw_quality_path, legend_handles, mark_empty_panel
from analysis.figures.overview import SMOOTHING_NOTE, Plot
from analysis.figures.style import RC, WIDTH, Style
from analysis.sections.base import Part
from analysis.sections.drift_report import drift_part
from analysis.stats.metrics import is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from cme.records import RunRecord

TITLE = "The KL penalty: beta 0, 0.01, 0.1"
INTRO = (
    "A penalty on the KL divergence from the start is there to keep a policy from gaming its reward. If CME can be "
    "gamed, beta 0 ends further from its start with no more, or less, true quality than the penalised runs; if it "
    "cannot, the penalty only slows training down, and quality is a matter of the distance gone, whatever the beta. "
    "The paper trains its cells with beta 0 or 0.01 and its repository compares 0, 0.01 and 0.1; no figures of that "
    "comparison are known."
)
X_LABEL = "√KL from start (√nats, a response)"


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and figures of one scale."""
    compared = Compared.by(label, runs)
    extra: dict[str, Extra] = {"KL (nats)": end_of("kl", 1), "length (tokens)": length_of}
    notes = [
        "KL: the policy's divergence from its start, in nats a response, sampled on training prompts at the end of "
        "training: mean over seeds, in parentheses the lowest and the highest.",
        LENGTH_NOTE,
    ]
    tables = setting_tables(compared, "KL penalty", "beta", "beta 0", extra, notes)
    plots = [drift_paths(compared, cells) for _, cells in compared.by_judge()]
    plots += training_plots(compared, compared.ramp(), "beta")
    own = written("kl_beta", compared, tables, plots, out)
    drift = drift_part(compared.runs, "kl_beta", out, compared.labels)
    return Part([*own.tables, *drift.tables], [*own.images, *drift.images])


def label(run: RunRecord) -> str:
    """The weight of the penalty, such as `beta 0.01`."""
    return f"beta {float(run.config['trainer']['beta']):g}"


def drift_paths(compared: Compared, cells: Sequence[Cell]) -> Plot:
    """Quality along training, and the final win rate, both against the square root of KL: a row a place."""
    scale, judge, styles = compared.scale, cells[0].judge, compared.ramp()
    places = list(dict.fromkeys((cell.family, cell.regime) for cell in cells))
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * len(places)), layout="constrained")
        panels = figure.subplots(len(places), 2, sharex=True, squeeze=False)
        for (family, regime), (left, right) in zip(places, panels, strict=True):
            history = compared.history
            here = history[(history["family"] == family) & (history["regime"] == regime)]
            for method, style in styles.items():
                draw_quality_path(left, here[here["method"] == method], "sqrt_kl", style)
            for cell in (cell for cell in cells if (cell.family, cell.regime) == (family, regime)):
                draw_final(right, compared.of(cell), cell, styles[cell.method])
            for axes in (left, right):
                mark_empty_panel(axes)
            left.set_ylabel(f"{family} {regime}\ntrue quality (0 to 1)")
            right.set_ylabel("win rate (%)")
            right.axhline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        panels[0, 0].set_title("true quality along training")
        panels[0, 1].set_title(f"final win rate (judge: {judge})")
        for axes in panels[-1]:
            axes.set_xlabel(X_LABEL)
        figure.suptitle(f"Gain against distance from the start, by beta (scale: {scale})")
        figure.legend(handles=legend_handles(styles), loc="outside lower center", ncols=5, handlelength=3)
    caption = (
        f"What is gained at which distance from the start, by the weight of the KL penalty, at scale {scale}. Left: "
        "true quality of sampled responses along training, from the open dot (start) to the filled marker (end). "
        f"{SMOOTHING_NOTE}. Right: the final policy's win rate against its start (judge: {judge}) with its 95 % "
        f"interval "
        "over prompts, at the mean over seeds of its final distance; the horizontal bar spans the lowest and the "
        "highest seed. Filled: the interval excludes 50 %. Paths that lie on one another say that quality is a matter "
        "of distance and the penalty only shortens it; a path that turns down says that the reward was gamed."
    )
    return Plot(f"distance-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_final(axes: Axes, runs: Sequence[RunRecord], cell: Cell, style: Style) -> None:
    """A cell's win rate with its interval at the mean of its seeds' final distances, which a bar spans."""
    distances = [sqrt(max(0.0, kl)) for run in runs if not np.isnan(kl := at_end(run, "kl"))]
    if not distances or np.isnan(cell.win.rate):
        return
    x, win = float(np.mean(distances)), cell.win
    face = "white" if is_undecided(win) else style.colour
    axes.plot([x, x], [win.lo, win.hi], color=style.colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot([min(distances), max(distances)], [win.rate, win.rate], color=style.colour, linewidth=0.8)
    axes.plot(x, win.rate, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=5.5)

"""Figures of separation, response by response: distributions of signals, and generator against verifier."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.style import RC, WIDTH, Plot, Style
from analysis.stats.intervals import Floats
from analysis.tables.separation import (
    LENGTH,
    SIGNALS,
    Separation,
    display_names,
    file_stem,
    setting_label,
    signal_label,
)

RIGHT, WRONG = Style("#0072B2", "o", ()), Style("#D55E00", "x", ())
FLOOR = 1e-4
"""Nats: lower values are drawn here, since the axes are logarithmic."""
BINS = 24


def measured_spans(found: Sequence[Separation]) -> list[str]:
    """The spans that there are signals over: response, and answer where it is only a part of it."""
    there = {signal.split()[-1] for one in found for signal in one.values}
    return [span for span in ("response", "answer") if span in there]


def distribution_plot(found: Sequence[Separation], span: str) -> Plot:
    """Histograms of a span's signals (columns) for right and wrong responses of each generator (rows)."""
    there = {signal for one in found for signal in one.values}
    signals = [s for s in SIGNALS if s in there and s.endswith(f" {span}")]
    names = display_names(found)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 1.1 + 1.15 * len(found)), layout="constrained")
        panels = figure.subplots(len(found), len(signals), sharex="col", squeeze=False)
        for column, signal in enumerate(signals):
            everything = np.concatenate([one.values[signal] for one in found if signal in one.values])
            edges = edges_of(everything, signal)
            for one, axes in zip(found, panels[:, column], strict=True):
                if signal in one.values:
                    draw_histogram(axes, one, signal, edges)
            panels[0, column].set_title(signal_label(signal).replace(", ", "\n"))
            panels[-1, column].set_xlabel("tokens" if signal == LENGTH else "nats/token")
        for name, row in zip(names, panels, strict=True):
            row[0].set_ylabel(f"{name}\n(share)", fontweight="bold")
        figure.suptitle(f"Signals over the {span}, right and wrong responses ({setting_label(found)})")
        handles = [
            Patch(facecolor=style.colour, alpha=0.55, label=name)
            for style, name in ((RIGHT, "right responses"), (WRONG, "wrong responses"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"Distributions of the signals over the {span} of right and of wrong responses ({setting_label(found)}). "
        "Heights are shares of the right and of the wrong responses of a generator, each adding up to 1, so the "
        f"classes' sizes do not show. The axis in nats a token is logarithmic; what lies below {FLOOR:g} is drawn "
        "there."
    )
    return Plot(f"separation-distributions-{span}-{file_stem(found)}", caption, figure)


def edges_of(values: Floats, signal: str) -> Floats:
    """Edges of a histogram's bins: one a token for lengths, up to `BINS` of them, else even on a logarithmic axis."""
    known = values[~np.isnan(values)]
    if signal == LENGTH:
        low, high = known.min() - 0.5, known.max() + 0.5
        return np.linspace(low, high, min(BINS, int(high - low)) + 1)
    return np.geomspace(FLOOR, max(known.max(), 10 * FLOOR) * 1.01, BINS + 1)


def draw_histogram(axes: Axes, one: Separation, signal: str, edges: Floats) -> None:
    """Shares of the right and of the wrong responses by bin."""
    values = one.values[signal]
    for style, correct in ((RIGHT, True), (WRONG, False)):
        own = values[(one.correct == correct) & ~np.isnan(values)]
        shown = own if signal == LENGTH else np.maximum(own, FLOOR)
        axes.hist(
            shown, edges.tolist(), weights=np.full(len(own), 1 / max(len(own), 1)), color=style.colour, alpha=0.45,
            histtype="stepfilled", edgecolor=style.colour, linewidth=0.8,
        )  # fmt: skip
    if signal != LENGTH:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=100, numticks=4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)


def scatter_plot(found: Sequence[Separation]) -> Plot:
    """Cross-entropy of each response under its generator and under the verifier, a panel a generator and span."""
    spans = measured_spans(found)
    shown = [
        (one, name, span) for span in spans for one, name in zip(found, display_names(found), strict=True)
    ]
    columns = min(len(found), 4)
    rows = ceil(len(shown) / columns)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.9 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (one, name, span) in zip(panels.flat, shown, strict=False):
            draw_scatter(axes, one, span)
            axes.set_title(name if len(spans) == 1 else f"{name}, {span}")
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        for axes in panels.flat[max(0, len(shown) - columns) : len(shown)]:  # the lowest of each column
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("under itself")
        for row in panels:
            row[0].set_ylabel("under the verifier")
        figure.suptitle(f"Cross-entropy of responses in nats/token ({setting_label(found)})")
        handles = [
            Line2D([], [], color=style.colour, marker=style.marker, linestyle="", label=name)
            for style, name in ((RIGHT, "right responses"), (WRONG, "wrong responses"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        "Each response's cross-entropy under its own generator (across) and under the verifier (up; "
        f"{setting_label(found)}), both axes logarithmic, values below {FLOOR:g} drawn there. On the dashed line both "
        "models find a response equally likely; above it the verifier is more surprised than the generator. A signal "
        "separates where the colours do along its axis."
    )
    return Plot(f"separation-scatter-{file_stem(found)}", caption, figure)


def draw_scatter(axes: Axes, one: Separation, span: str) -> None:
    """A generator's responses, the right ones on top, and the line on which both models agree."""
    x, y = (one.values[f"cross_entropy {model} {span}"] for model in ("generator", "verifier"))
    for style, correct in ((WRONG, False), (RIGHT, True)):
        own = one.correct == correct
        axes.plot(
            np.maximum(x[own], FLOOR), np.maximum(y[own], FLOOR), linestyle="", marker=style.marker,
            markersize=2.5, color=style.colour, alpha=0.4, markeredgewidth=0.7, rasterized=True,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.axline((1e-3, 1e-3), (1, 1), color="black", linewidth=0.8, linestyle=(0, (4, 2)))

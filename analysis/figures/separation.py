"""Figures of separation: AUROC by signal and by verifier, distributions of signals, generator against verifier."""

from collections.abc import Sequence
from itertools import cycle
from math import ceil, nan
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.forest import ROW, Block, Dot, Panel, forest
from analysis.figures.style import MARKERS, REFERENCE, Plot, Style, add_legend, new_figure
from analysis.records.names import STATED, plain_name, verifier_name
from analysis.stats.auroc import Estimate
from analysis.stats.intervals import FEW_PROMPTS, Floats, interval_excludes
from analysis.tables.published_separation import LENGTH, SIGNALS, published_frame, signal_label
from analysis.tables.separation import Separation, display_names, file_stem, setting_label

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
OURS = [Style(colour, marker) for colour, marker in zip(COLOURS, "os^DvP", strict=True)]
GRAY = "#555555"
LINE = 0.13  # inches from mark to mark
KINDS = ("ours, pooled", "ours, within prompts")
SPANS = {"response": Style("#0072B2", "o"), "answer": Style("#D55E00", "^")}
RIGHT, WRONG = Style("#0072B2", "o"), Style("#D55E00", "x")
CLASSES = {"right responses": RIGHT, "wrong responses": WRONG}
FLOOR = 1e-4  # nats: lower values are drawn here, since the axes are logarithmic
BINS = 24
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # labels such as 0.01


def separation_plots(records: Sequence[Separation]) -> list[Plot]:
    """The figures of one scale and data: by signal under the most frequent verifier, and by verifier."""
    verifiers = [one.record.verifier for one in records]
    usual = [one for one in records if one.record.verifier == max(verifiers, key=verifiers.count)]
    several = len(set(verifiers)) > 1 and len({one.name for one in records}) < len(records)
    distributions = [distribution_plot(usual, span) for span in measured_spans(usual)]
    plots = [auroc_plot(usual), *distributions, scatter_plot(usual)]
    return [*plots, *([verifier_plot(records)] if several else [])]


def measured_spans(records: Sequence[Separation]) -> list[str]:
    """The spans that have signals: response, and answer if it is only a part of it."""
    spans = {signal.split()[-1] for one in records for signal in one.values}
    return [span for span in ("response", "answer") if span in spans]


def estimate_dot(row: str, estimate: Estimate, style: Style, below: float) -> Dot:
    """An AUROC with its interval; hollow if that covers 0.5 or has few prompts."""
    certain = interval_excludes(estimate.lo, estimate.hi, 0.5, estimate.prompts, decimals=3)
    return Dot(row, estimate.value, estimate.lo, estimate.hi, style, hollow=not certain, below=below, size=4)


def auroc_plot(records: Sequence[Separation]) -> Plot:
    """Signals as rows; ours pooled, ours within prompts, and the published in separate panels."""
    published = published_frame()
    measured = {signal for one in records for signal in one.values}
    signals = [signal for signal in SIGNALS if signal in measured | set(published["signal"])]
    names, styles = display_names(records), [style for style, _ in zip(cycle(OURS), records, strict=False)]
    generators = list(dict.fromkeys(published["generator"]))
    theirs = {g: Style(GRAY, marker) for g, marker in zip(generators, MARKERS, strict=False)}
    height = LINE * max(len(records), len(generators)) + 0.1

    def below(number: int, marks: int) -> float:
        """How far a mark stands below the middle of its row of several marks."""
        return LINE / height * (number - (marks - 1) / 2)

    panels = []
    for kind, title in enumerate(KINDS):
        dots = [
            estimate_dot(signal, estimates[kind], style, below(number, len(records)))
            for number, (one, style) in enumerate(zip(records, styles, strict=True))
            for signal, estimates in one.estimates.items()
        ]
        words = {signal: "answer = response" for signal in signals if signal not in measured}
        title = f"{title}\n(scale: {records[0].record.scale})"
        panels.append(Panel("", dots, 0.5, title, (0.38, 1.02), words))
    dots = []
    for row in published.to_dict("records"):
        offset = below(generators.index(row["generator"]), len(generators))
        dots.append(
            Dot(row["signal"], row["auroc"], nan, nan, theirs[row["generator"]], below=offset, size=4)
        )
    words = {signal: "not published" for signal in signals if signal not in set(published["signal"])}
    panels.append(Panel("", dots, 0.5, "published, pooled\n(paper's scale, MATH-500)", (0.38, 1.02), words))
    legend = dict(zip(names, styles, strict=True))
    others = {f"published: {generator.split('/')[-1]}": style for generator, style in theirs.items()}
    label = "AUROC: chance that a wrong response has the higher value"
    rows = {signal: signal_label(signal) for signal in signals}
    block = Block("", rows, panels, x_label=label, height=height, above=0.2, ruled=True, share_x=True)
    title = f"Which signal tells wrong responses from right ones? ({setting_label(records)})"
    figure = forest(title, [block], legend | others)
    caption = (
        f"AUROC of each signal for wrong against right responses ({setting_label(records)}), with 95 % intervals over "
        "prompts. Pooled: any wrong response against any right one. Within prompts: only responses to the same prompt, "
        "the mean over prompts that have both, which is all that GRPO's group baseline sees. Filled: the interval "
        f"excludes 0.5 (dashed) on {FEW_PROMPTS} prompts or more. Length is the control. The panel on the right is the "
        "published result at another scale, with other models and problems, and without intervals; compare only its "
        "pattern. Its gemma-2-2b had 5 correct responses."
    )
    return Plot(f"separation-auroc-{file_stem(records)}", caption, figure)


def verifier_plot(records: Sequence[Separation]) -> Plot:
    """Cross-entropy by verifier, one group of rows per generator, the generator's own on top.

    The verifiers have one order in all groups: by their mean pooled AUROC over the generators, the highest first.
    """
    apart = any(signal.endswith(" answer") for one in records for signal in one.values)
    rows: dict[str, str] = {}
    dots: tuple[list[Dot], list[Dot]] = ([], [])
    values: dict[str, list[float]] = {}
    for one in records:
        pooled = one.estimates["cross_entropy verifier response"][0].value
        values.setdefault(one.record.verifier, []).append(pooled)
    for name in dict.fromkeys(one.name for one in records):
        own = [one for one in records if one.name == name]
        if len(own) < 2:
            continue
        best = sorted(own, key=lambda one: -np.mean(values[one.record.verifier]))
        rows[name] = name
        models = [("itself", "generator", own[0])]
        models += [(verifier_name(one.record.verifier), "verifier", one) for one in best]
        for label, model, one in models:
            row = f"{name}\n{model}\n{label}"
            rows[row] = label
            for span, style in SPANS.items():
                if estimates := one.estimates.get(f"cross_entropy {model} {span}"):
                    below = apart * (-0.18 if span == "response" else 0.18)
                    for kind, estimate in enumerate(estimates):
                        dots[kind].append(estimate_dot(row, estimate, style, below))
    panels = [Panel("", dots[kind], 0.5, title, (0.48, 1.01)) for kind, title in enumerate(KINDS)]
    record = records[0].record
    label, height = "AUROC of cross-entropy, higher when wrong", ROW + 0.08 * apart
    block = Block("", rows, panels, x_label=label, height=height, share_x=True)
    legend = {f"over the {span}": style for span, style in SPANS.items()} if apart else {}
    title = f"Cross-entropy under which verifier? (scale: {record.scale}, data: {plain_name(record.data)})"
    figure = forest(title, [block], legend)
    caption = (
        f"AUROC of cross-entropy for wrong against right responses of each generator (bold; scale: {record.scale}, "
        f"data: {plain_name(record.data)}) under itself and under verifiers, with 95 % intervals over prompts. "
        "Verifiers stand by their mean pooled AUROC over the generators, the highest first. Filled: the interval "
        "excludes 0.5. A verifier below `itself` tells wrong from right "
        "less well than the likelihood that the generator gives its own responses, which needs no second model. A "
        f"number behind a verifier's name is {STATED}."
    )
    return Plot(f"separation-verifiers-{file_stem(records)}", caption, figure)


def distribution_plot(records: Sequence[Separation], span: str) -> Plot:
    """Histograms of a span's signals (columns) for right and wrong responses of each generator (rows)."""
    measured = {signal for one in records for signal in one.values}
    signals = [signal for signal in SIGNALS if signal in measured and signal.endswith(f" {span}")]
    title = f"Signals over the {span}, right and wrong responses ({setting_label(records)})"
    with new_figure(title, 0.95 + 1.15 * len(records)) as figure:
        panels = figure.subplots(len(records), len(signals), sharex="col", squeeze=False)
        for column, signal in enumerate(signals):
            everything = np.concatenate([one.values[signal] for one in records if signal in one.values])
            edges = bin_edges(everything, signal)
            for one, axes in zip(records, panels[:, column], strict=True):
                if signal in one.values:
                    draw_histogram(axes, one, signal, edges)
            panels[0, column].set_title(signal_label(signal).replace(", ", "\n"))
            panels[-1, column].set_xlabel("tokens" if signal == LENGTH else "nats/token")
        for name, row in zip(display_names(records), panels, strict=True):
            row[0].set_ylabel(f"{name}\n(share)", fontweight="bold")
        squares = {name: Style(style.colour, "s") for name, style in CLASSES.items()}
        add_legend(figure, {}, squares)
    caption = (
        f"Distributions of the signals over the {span} of right and of wrong responses ({setting_label(records)}). "
        "Heights are shares of the right and of the wrong responses of a generator, and each class adds up to 1. The "
        f"axis in nats per token is logarithmic; values below {FLOOR:g} are drawn there."
    )
    return Plot(f"separation-distributions-{span}-{file_stem(records)}", caption, figure)


def bin_edges(values: Floats, signal: str) -> Floats:
    """Edges of a histogram's bins: up to BINS, one per token for lengths, even on a logarithmic axis otherwise."""
    known = values[~np.isnan(values)]
    if not known.size:  # no response has an answer
        return np.array([FLOOR, 1.0])
    if signal == LENGTH:
        low, high = known.min() - 0.5, known.max() + 0.5
        return np.linspace(low, high, min(BINS, int(high - low)) + 1)
    low = max(known.min(), FLOOR)
    return np.geomspace(low / 1.01, max(known.max(), 10 * low) * 1.01, BINS + 1)


def draw_histogram(axes: Axes, one: Separation, signal: str, edges: Floats) -> None:
    """Shares of the right and of the wrong responses by bin."""
    values = one.values[signal]
    for style, correct in ((RIGHT, True), (WRONG, False)):
        own = values[(one.correct == correct) & ~np.isnan(values)]
        shown = own if signal == LENGTH else np.maximum(own, FLOOR)
        weights = np.full(len(own), 1 / max(len(own), 1))
        look: dict[str, Any] = {"edgecolor": style.colour, "alpha": 0.45, "linewidth": 0.8}
        axes.hist(shown, edges.tolist(), weights=weights, histtype="stepfilled", color=style.colour, **look)
    if signal != LENGTH:
        axes.set_xscale("log")
        label_powers(axes.xaxis)
    axes.set_ylim(bottom=0)


def label_powers(axis: Axis) -> None:
    """Label a logarithmic axis at powers of ten, and where it covers few of them at three times these too."""
    low, high = axis.get_view_interval()
    few = high / low < 300
    locator = LogLocator(base=10, subs=(1, 3), numticks=10) if few else LogLocator(base=10, numticks=4)
    axis.set_major_locator(locator)
    axis.set_major_formatter(PLAIN)
    axis.set_minor_formatter(NullFormatter())


def scatter_plot(records: Sequence[Separation]) -> Plot:
    """Cross-entropy of each response under its generator and under the verifier, one panel per generator and span."""
    spans = measured_spans(records)
    shown = [
        (one, name, span) for span in spans for one, name in zip(records, display_names(records), strict=True)
    ]
    columns = max(2, min(len(records), 4))
    rows = ceil(len(shown) / columns)
    title = f"Cross-entropy of responses in nats/token ({setting_label(records)})"
    with new_figure(title, 0.75 + (1.9 if columns > 2 else 2.6) * rows) as figure:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (one, name, span) in zip(panels.flat, shown, strict=False):
            x, y = (
                np.maximum(one.values[f"cross_entropy {m} {span}"], FLOOR) for m in ("generator", "verifier")
            )
            for style, correct in ((WRONG, False), (RIGHT, True)):
                own = one.correct == correct
                look: dict[str, Any] = {"color": style.colour, "markersize": 2.5, "markeredgewidth": 0.7}
                axes.plot(x[own], y[own], style.marker, alpha=0.4, rasterized=True, **look)
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                label_powers(axis)
            axes.axline((1, 1), (2, 2), **REFERENCE)
            axes.set_title(name if len(spans) == 1 else f"{name}, {span}")
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        for axes in panels.flat[max(0, len(shown) - columns) : len(shown)]:  # the lowest of each column
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("under itself")
        for row in panels:
            row[0].set_ylabel("under the verifier")
        add_legend(figure, {}, CLASSES)
    caption = (
        "Each response's cross-entropy under its own generator (across) and under the verifier (up; "
        f"{setting_label(records)}), on logarithmic axes, values below {FLOOR:g} drawn there. On the dashed line both "
        "models find a response equally likely; above it the verifier is more surprised than the generator. A signal "
        "separates if the colours do along its axis."
    )
    return Plot(f"separation-scatter-{file_stem(records)}", caption, figure)

"""Figures of separation: AUROC by signal beside the published, and by verifier."""

from collections.abc import Sequence
from itertools import cycle
from math import ceil, isnan
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import RC, WIDTH, Plot, Style
from analysis.stats.auroc import Estimate
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.tables.separation import (
    SIGNALS,
    Separation,
    display_names,
    file_stem,
    published_frame,
    setting_label,
    signal_label,
)

OURS = (
    Style("#0072B2", "o", ()),
    Style("#E69F00", "s", ()),
    Style("#009E73", "^", ()),
    Style("#CC79A7", "D", ()),
    Style("#56B4E9", "v", ()),
    Style("#000000", "P", ()),
)
PUBLISHED = "#555555"
MARKERS = ("o", "s", "^", "D")
LINE = 0.13  # inches from mark to mark
KINDS = ("ours, pooled", "ours, within prompts")
SPANS = {"response": Style("#0072B2", "o", ()), "answer": Style("#D55E00", "^", ())}


def auroc_plot(found: Sequence[Separation]) -> Plot:
    """Signals down; ours pooled, ours within prompts, and the published in a panel of their own."""
    published = published_frame()
    there = {signal for one in found for signal in one.values} | set(published["signal"])
    signals = [signal for signal in SIGNALS if signal in there]
    names = display_names(found)
    styles = [style for style, _ in zip(cycle(OURS), found, strict=False)]
    generators = list(dict.fromkeys(published["generator"]))
    row = LINE * max(len(found), len(generators)) + 0.1
    height = {signal: -index * row for index, signal in enumerate(signals)}
    columns = 4 if max(map(len, names)) <= 24 else 2
    legend = 0.17 * ceil((len(found) + len(generators)) / columns)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 1.3 + row * len(signals) + legend), layout="constrained")
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        for kind, axes in enumerate(panels[:2]):
            axes.set_title(f"{KINDS[kind]}\n(scale: {found[0].record.scale})")
            for number, (one, style) in enumerate(zip(found, styles, strict=True)):
                shift = LINE * ((len(found) - 1) / 2 - number)
                for signal, estimates in one.estimates.items():
                    draw_estimate(axes, estimates[kind], height[signal] + shift, style)
            for signal in signals:
                if not any(signal in one.values for one in found):
                    say(axes, height[signal], "answer = response")
        panels[2].set_title("published, pooled\n(paper's scale, MATH-500)")
        for number, generator in enumerate(generators):
            own = published[published["generator"] == generator]
            y = [height[s] + LINE * ((len(generators) - 1) / 2 - number) for s in own["signal"]]
            panels[2].plot(own["auroc"], y, label=generator, **hollow(MARKERS[number]))
        for signal in [s for s in signals if s not in set(published["signal"])]:
            say(panels[2], height[signal], "not published")
        for axes in panels:
            mark_chance(axes)
            for below in list(height.values())[1:]:
                axes.axhline(below + row / 2, color="#d0d0d0", linewidth=0.5)
        panels[0].set_yticks(list(height.values()), [signal_label(signal) for signal in signals])
        panels[0].set_ylim(-(len(signals) - 0.5) * row, 0.5 * row)
        panels[0].set_xlim(min(panels[0].get_xlim()[0], 0.38), 1.02)
        panels[1].set_xlabel("AUROC: chance that a wrong response has the higher value")
        figure.suptitle(f"Which signal tells wrong responses from right ones? ({setting_label(found)})")
        handles = [
            Line2D([], [], color=style.colour, marker=style.marker, label=name)
            for name, style in zip(names, styles, strict=True)
        ]
        handles += [
            Line2D([], [], label=f"published: {generator.split('/')[-1]}", **hollow(marker))
            for generator, marker in zip(generators, MARKERS, strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    caption = (
        f"AUROC of each signal for wrong against right responses ({setting_label(found)}), with 95 % intervals over "
        "prompts. Pooled: any wrong response against any right one. Within prompts: responses to the same prompt "
        "alone, the mean over prompts that have both, which is all that GRPO's group baseline sees. Filled: the "
        f"interval excludes 0.5 (dashed) on {FEW_PROMPTS} prompts or more. Length is the control. The panel on the "
        "right is the published result, at another scale, with other models and problems, and without intervals; only "
        "its pattern is to be compared. Its gemma-2-2b had 5 correct responses."
    )
    return Plot(f"separation-auroc-{file_stem(found)}", caption, figure)


def verifier_plot(found: Sequence[Separation]) -> Plot:
    """Cross-entropy by verifier, a block a generator, the generator's own on top."""
    blocks = {
        name: [one for one in found if one.name == name] for name in dict.fromkeys(o.name for o in found)
    }
    blocks = {name: own for name, own in blocks.items() if len(own) > 1}
    rows: list[tuple[str, Separation | None, str]] = []
    for name, own in blocks.items():
        best = sorted(own, key=lambda one: -one.estimates["cross_entropy verifier response"][0].value)
        rows += [(name, None, ""), (name, own[0], "generator"), *((name, one, "verifier") for one in best)]
    apart = any(s.endswith(" answer") for one in found for s in one.values)
    with rc_context(RC):
        size = (WIDTH, 1.1 + (0.19 + 0.08 * apart) * len(rows) + 0.2 * apart)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for kind, axes in enumerate(panels):
            for index, (_, one, model) in enumerate(rows):
                for span, style in SPANS.items():
                    signal = f"cross_entropy {model} {span}"
                    if one is not None and signal in one.estimates:
                        shift = apart * (0.18 if span == "response" else -0.18)
                        draw_estimate(axes, one.estimates[signal][kind], shift - index, style)
            axes.set_title(KINDS[kind])
            mark_chance(axes)
        called = {"": "{}", "generator": "itself", "verifier": "{}"}
        ticks = [called[m].format(name if one is None else one.record.verifier) for name, one, m in rows]
        panels[0].set_yticks([-index for index in range(len(rows))], ticks)
        for tick, (_, one, _) in zip(panels[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if one is None else "normal")
        panels[0].set_ylim(0.5 - len(rows), 0.5)
        panels[0].set_xlim(min(panels[0].get_xlim()[0], 0.48), 1.01)
        for axes in panels:
            axes.set_xlabel("AUROC of cross-entropy, higher when wrong")
        record = found[0].record
        figure.suptitle(f"Cross-entropy under which verifier? (scale: {record.scale}, data: {record.data})")
        if apart:
            handles = [
                Line2D([], [], color=style.colour, marker=style.marker, label=f"over the {span}")
                for span, style in SPANS.items()
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"AUROC of cross-entropy for wrong against right responses of each generator (bold; scale: {record.scale}, "
        f"data: {record.data}) under itself and under verifiers, the best pooled one first, with 95 % intervals over "
        "prompts. Filled: the interval excludes 0.5. A verifier below `itself` tells wrong from right less well than "
        "the likelihood that the generator gives its own responses, which needs no second model."
    )
    return Plot(f"separation-verifiers-{file_stem(found)}", caption, figure)


def draw_estimate(axes: Axes, estimate: Estimate, y: float, style: Style) -> None:
    """A mark on its interval; hollow where that covers 0.5 or rests on few prompts; nothing without a value."""
    if isnan(estimate.value):
        return
    told = interval_excludes(estimate.lo, estimate.hi, 0.5, estimate.prompts)
    face = style.colour if told else "white"
    axes.plot([estimate.lo, estimate.hi], [y, y], color=style.colour, solid_capstyle="butt")
    axes.plot(estimate.value, y, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=4)


def hollow(marker: str) -> dict[str, Any]:
    """How a published figure is drawn: an open gray mark."""
    face = {"markerfacecolor": "white", "markersize": 4}
    return {"marker": marker, "color": PUBLISHED, "linestyle": "", **face}


def mark_chance(axes: Axes) -> None:
    """The dashed line at 0.5, and rows without grid or ticks."""
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def say(axes: Axes, y: float, text: str) -> None:
    """Why a row is empty."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    middle = axes.get_yaxis_transform()
    axes.text(0.5, y, text, transform=middle, ha="center", va="center", color="#666666", bbox=box)

"""The same number of completions a step in groups of different sizes: many prompts with few, or few with many."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.experiments._settings import (
    MARKERS,
    Compared,
    Extra,
    end_of,
    setting_tables,
    training_plots,
    written,
)
from analysis.figures.curves import legend_handles
from analysis.figures.overview import Plot
from analysis.figures.style import RC, WIDTH, Style
from analysis.sections.base import Part
from analysis.stats.metrics import Floats, is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from analysis.tables.win_rates import score_name, side_names
from cme.records import RunRecord

TITLE = "Group size at equal completions a step"
INTRO = (
    "CME's advantages are what a response's reward is above its group's mean. A larger group knows that mean better, "
    "but at equal cost a step then sees fewer prompts. All runs here spend the same number of completions a step, so "
    "a difference is due to how they are shared out. The paper has groups of 8 throughout and no such comparison."
)
DEFAULT = 8
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and figures of one scale."""
    compared = Compared.by(label, runs)
    extra: dict[str, Extra] = {
        "prompts x completions": lambda own: ", ".join(dict.fromkeys(shared_out(run) for run in own)),
        "SD in group": end_of("reward_std"),
        "KL (nats)": end_of("kl", 1),
    }
    budgets = sorted({completions(run) for run in runs})
    budget = (
        f"All runs have {budgets[0]} completions a step."
        if len(budgets) == 1
        else f"The runs do not have equal completions a step: {', '.join(map(str, budgets))}. Compare within one."
    )
    notes = [
        f"{budget} Prompts x completions: how a step shares them out. SD in group: standard deviation of the reward "
        "in a group, in nats a token; KL: the policy's divergence from its start, in nats a response; both on training "
        "prompts at the end of training: mean over seeds, in parentheses the lowest and the highest.",
    ]
    tables = setting_tables(compared, "Group size", "groups", f"groups of {DEFAULT}", extra, notes)
    plots = [size_plot(compared, cells) for _, cells in compared.by_judge()]
    plots += training_plots(compared, compared.ramp(), "group size")
    return written("group_size", compared, tables, plots, out)


def size(run: RunRecord) -> int:
    """Completions of one prompt."""
    return int(run.config["trainer"]["num_generations"])


def label(run: RunRecord) -> str:
    """Such as `groups of 8`."""
    return f"groups of {size(run)}"


def completions(run: RunRecord) -> int:
    """Completions a step of the optimiser, on one device."""
    trainer = run.config["trainer"]
    return int(trainer["per_device_train_batch_size"]) * int(trainer["gradient_accumulation_steps"])


def shared_out(run: RunRecord) -> str:
    """Prompts a step x completions of each, such as `8 x 8`."""
    return f"{completions(run) / size(run):g} x {size(run)}"


def size_plot(compared: Compared, cells: Sequence[Cell]) -> Plot:
    """Win rate and, where the judge has one, its score against the size of the group, a line a family and regime."""
    scale, judge = compared.scale, cells[0].judge
    scored = any(cell.quality is not None for cell in cells)
    places = list(dict.fromkeys((cell.family, cell.regime) for cell in cells))
    styles = {
        place: Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], ())
        for i, place in enumerate(places)
    }
    sizes = sorted({size(run) for run in compared.runs})
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        panels = figure.subplots(1, 1 + scored, squeeze=False)[0]
        for place, style in styles.items():
            own = [cell for cell in cells if (cell.family, cell.regime) == place]
            own = sorted(own, key=lambda cell: size(compared.of(cell)[0]))
            x = np.array([size(compared.of(cell)[0]) for cell in own], dtype=float)
            draw_rates(panels[0], x, own, style)
            if scored:
                draw_scores(panels[1], x, own, style)
        panels[0].axhline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        panels[0].set_ylabel("win rate (%)")
        if scored:
            panels[1].set_ylabel(f"mean {score_name(judge)} after training")
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(number) for number in sizes])
            axes.minorticks_off()
            axes.set_xlabel("completions of a prompt (G)")
        figure.suptitle(f"Group size at equal completions a step (scale: {scale}, judge: {judge})")
        handles = legend_handles({" ".join(place): style for place, style in styles.items()})
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"Win rate against the {side_names(scale)[0]} by the size of the group, at equal completions a step, at scale "
        f"{scale}, judge {judge}, all seeds pooled; bars are 95 % intervals over prompts, for these models. Small "
        "marks to the right: single seeds. Filled: the interval excludes 50 % (dashed)."
    )
    if scored:
        caption += (
            f" Right: mean {score_name(judge)} of the policies' responses; the bar is the interval of the paired "
            "difference from the start, whose own level is dotted."
        )
    return Plot(f"size-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_rates(axes: Axes, x: Floats, cells: Sequence[Cell], style: Style) -> None:
    """A line through the win rates, each with its interval and its single seeds."""
    axes.plot(x, [cell.win.rate for cell in cells], color=style.colour, linewidth=0.8)
    for at, cell in zip(x, cells, strict=True):
        win, rates = cell.win, list(cell.seeds.rates.values())
        face = "white" if is_undecided(win) else style.colour
        axes.plot([at, at], [win.lo, win.hi], color=style.colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(at, win.rate, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=5.5)
        axes.plot([at * 1.12] * len(rates), rates, "_", color=style.colour, markersize=4)


def draw_scores(axes: Axes, x: Floats, cells: Sequence[Cell], style: Style) -> None:
    """A line through the scores, each with the interval of its change, above the start's own level."""
    known = [(at, cell.quality) for at, cell in zip(x, cells, strict=True) if cell.quality is not None]
    axes.plot([at for at, _ in known], [of.policy for _, of in known], color=style.colour, linewidth=0.8)
    for at, of in known:
        ends = [of.start + of.lo, of.start + of.hi]
        axes.plot([at, at], ends, color=style.colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(at, of.policy, marker=style.marker, color=style.colour, markersize=5.5)
    if known:
        axes.axhline(known[0][1].start, color=style.colour, linewidth=0.8, linestyle=(0, (1, 2)))

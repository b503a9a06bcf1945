"""The ablations: granularity of the reward, normalisation of advantages, KL penalty, and group size."""

from collections.abc import Sequence
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from analysis.experiments.base import NamedRuns, group_by_place
from analysis.experiments.settings import (
    END_NOTE,
    KL_NOTE,
    LENGTH_NOTE,
    SettingComparison,
    end_text,
    end_value,
    length_text,
)
from analysis.figures.curves import SMOOTHING_NOTE, draw_quality_path, mark_empty_panel, seed_curve
from analysis.figures.style import (
    MARKERS,
    RC,
    WIDTH,
    Plot,
    Style,
    draw_estimate,
    draw_reference,
    legend_handles,
)
from analysis.records.frames import WINDOW
from analysis.records.names import display_name
from analysis.stats.metrics import is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from analysis.tables.win_rates import score_name, side_names
from cme.records import RunRecord

NORMALISATIONS = {"group": "divided by SD", "batch": "divided by the batch's SD", "none": "only centred"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")


def normalisation(run: RunRecord) -> str:
    """How the advantages were normalised."""
    value = str(run.config["trainer"]["scale_rewards"])
    return NORMALISATIONS.get(value, f"scale_rewards {value}")


def kl_weight(run: RunRecord) -> str:
    """The weight of the KL penalty, such as `beta 0.01`."""
    return f"beta {float(run.config['trainer']['beta']):g}"


def granularity(run: RunRecord) -> str:
    """CME with one value per response or per token, or reverse KL."""
    if run.reward != "cme":
        return display_name(run.reward)
    return {"sequence": "CME", "token": "CME (dense)"}[run.config["reward"]["granularity"]]


def group_size(run: RunRecord) -> int:
    """Completions per prompt."""
    return int(run.config["trainer"]["num_generations"])


def completions(run: RunRecord) -> int:
    """Completions per optimiser step, on one device."""
    trainer = run.config["trainer"]
    return int(trainer["per_device_train_batch_size"]) * int(trainer["gradient_accumulation_steps"])


def batch_shape(_: NamedRuns, runs: Sequence[RunRecord]) -> str:
    """Prompts per step x completions per prompt, such as `8 x 8`."""
    return ", ".join(dict.fromkeys(f"{completions(r) / group_size(r):g} x {group_size(r)}" for r in runs))


def equal_budget(runs: Sequence[RunRecord]) -> str:
    """Whether all runs have the same number of completions per step."""
    budgets = sorted({completions(run) for run in runs})
    if len(budgets) == 1:
        return f"All runs have {budgets[0]} completions per step."
    shown = ", ".join(map(str, budgets))
    return f"The runs have different numbers of completions per step: {shown}. Compare only runs with equal numbers."


def halfway_text(named: NamedRuns, runs: Sequence[RunRecord]) -> str:
    """For each seed, the first step at which quality is halfway from the start to the best final quality."""
    history = named.history
    family, regime = runs[0].family, runs[0].regime
    level = halfway_level(history[(history["family"] == family) & (history["regime"] == regime)])
    return " ".join(first_step_at(history[history["run_id"] == run.run_id], level) for run in runs)


def halfway_level(history: pd.DataFrame) -> float:
    """Midway between the mean quality at the first step and the best setting's mean over its last WINDOW steps."""
    known = history.dropna(subset=["quality"])
    if known.empty:
        return nan
    start = float(known.loc[known["step"] == known["step"].min(), "quality"].mean())
    last = known.groupby("run_id")["step"].transform("max")
    ends = known[known["step"] > last - WINDOW].groupby(["method", "run_id"])["quality"].mean()
    return (start + float(ends.groupby("method").mean().max())) / 2


def first_step_at(run: pd.DataFrame, level: float) -> str:
    """The first step at which a run's smoothed quality reaches the level: - if never, n/a if it is not measured."""
    if isnan(level) or not run["quality"].notna().any():
        return "n/a"
    curve = seed_curve(run, "quality")["mean"]
    reached = curve.index[curve >= level]
    return str(int(reached[0])) if len(reached) else "-"


def distance_plot(named: NamedRuns, cells: Sequence[Cell]) -> Plot:
    """Quality along training, and the final win rate, both against the square root of KL: one row per place."""
    scale, judge, styles, history = named.scale, cells[0].judge, named.styles(), named.history
    places = group_by_place(cells)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * len(places)), layout="constrained")
        panels = figure.subplots(len(places), 2, sharex=True, squeeze=False)
        for own, (left, right) in zip(places, panels, strict=True):
            family, regime = own[0].family, own[0].regime
            here = history[(history["family"] == family) & (history["regime"] == regime)]
            for method, style in styles.items():
                draw_quality_path(left, here[here["method"] == method], "sqrt_kl", style)
            for cell in own:
                kl = [value for run in named.runs_of(cell) if not isnan(value := end_value(run, "kl"))]
                distances, win, style = [sqrt(max(0.0, value)) for value in kl], cell.win, styles[cell.method]
                if distances and not isnan(win.rate):
                    at, bounds = float(np.mean(distances)), (win.lo, win.hi)
                    hollow = is_undecided(win)
                    draw_estimate(right, at, win.rate, bounds, style, hollow=hollow, vertical=True, size=5.5)
                    ends = [min(distances), max(distances)]
                    right.plot(ends, [win.rate, win.rate], color=style.colour, linewidth=0.8)
            for axes in (left, right):
                mark_empty_panel(axes)
            left.set_ylabel(f"{family} {regime}\ntrue quality (0 to 1)")
            right.set_ylabel("win rate (%)")
            draw_reference(right, 50, vertical=False)
        panels[0, 0].set_title("true quality along training")
        panels[0, 1].set_title(f"final win rate (judge: {judge})")
        for axes in panels[-1]:
            axes.set_xlabel("√KL from the start (√nats per response)")
        figure.suptitle(f"Gain against distance from the start, by beta (scale: {scale})")
        figure.legend(handles=legend_handles(styles), loc="outside lower center", ncols=5, handlelength=3)
    caption = (
        f"Gain and distance from the start by the weight of the KL penalty, at scale {scale}. Left: true quality of "
        f"sampled responses along training, from the open dot (start) to the filled marker (end). {SMOOTHING_NOTE}. "
        f"Right: the final policy's win rate against the untrained model (judge: {judge}) with its 95 % interval over "
        "prompts, at the mean over seeds of the final distance; the horizontal bar spans the seeds. Filled: the "
        "interval excludes 50 %. If the paths coincide, quality depends on the distance alone and the penalty only "
        "shortens it; a path that turns down shows a gamed reward."
    )
    return Plot(f"distance-{slug(scale)}-{slug(judge)}", caption, figure)


def size_plot(named: NamedRuns, cells: Sequence[Cell]) -> Plot:
    """Win rate and, if the judge has one, its score against the group size: one line per family and regime."""
    scale, judge = named.scale, cells[0].judge
    scored = any(cell.quality is not None for cell in cells)
    sizes = {cell.runs: group_size(named.runs_of(cell)[0]) for cell in cells}
    styles = {}
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        panels = figure.subplots(1, 1 + scored, squeeze=False)[0]
        for index, place in enumerate(group_by_place(cells)):
            style = Style(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
            styles[f"{place[0].family} {place[0].regime}"] = style
            own = sorted(place, key=lambda cell: sizes[cell.runs])
            x = [sizes[cell.runs] for cell in own]
            panels[0].plot(x, [cell.win.rate for cell in own], color=style.colour, linewidth=0.8)
            for at, cell in zip(x, own, strict=True):
                win, rates = cell.win, list(cell.seeds.rates.values())
                bounds, hollow = (win.lo, win.hi), is_undecided(win)
                draw_estimate(panels[0], at, win.rate, bounds, style, hollow=hollow, vertical=True, size=5.5)
                panels[0].plot([at * 1.12] * len(rates), rates, "_", color=style.colour, markersize=4)
            known = [(at, cell.quality) for at, cell in zip(x, own, strict=True) if cell.quality is not None]
            if known:
                heights = [quality.policy for _, quality in known]
                panels[1].plot([at for at, _ in known], heights, color=style.colour, linewidth=0.8)
                start = known[0][1].start
                panels[1].axhline(start, color=style.colour, linewidth=0.8, linestyle=(0, (1, 2)))
            for at, quality in known:
                bounds = quality.start + quality.lo, quality.start + quality.hi
                draw_estimate(panels[1], at, quality.policy, bounds, style, vertical=True, size=5.5)
        draw_reference(panels[0], 50, vertical=False)
        panels[0].set_ylabel("win rate (%)")
        panels[-1].set_ylabel(f"mean {score_name(judge)} after training" if scored else "win rate (%)")
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(set(sizes.values())), [str(size) for size in sorted(set(sizes.values()))])
            axes.minorticks_off()
            axes.set_xlabel("completions per prompt (G)")
        figure.suptitle(f"Group size at equal completions per step (scale: {scale}, judge: {judge})")
        figure.legend(handles=legend_handles(styles), loc="outside lower center", ncols=4)
    caption = (
        f"Win rate against the {side_names(scale)[0]} by group size, at equal completions per step, at scale {scale}, "
        f"judge {judge}, all seeds pooled; bars are 95 % intervals over prompts, for these models. Small marks to the "
        "right: single seeds. Filled: the interval excludes 50 % (dashed)."
    )
    if scored:
        caption += (
            f" Right: mean {score_name(judge)} of the policies' responses; the bar is the interval of the paired "
            "difference from the untrained model, whose own level is dotted."
        )
    return Plot(f"size-{slug(scale)}-{slug(judge)}", caption, figure)


ADVANTAGE_NORM = SettingComparison(
    name="advantage_norm",
    title="Advantages: divided by the group's standard deviation, or only centred",
    question=(
        "Division by the group's standard deviation gives every prompt the same weight, even if its responses differ "
        "only by noise. With centring alone, the spread of the reward sets the size of the step. If division drives "
        "collapse, the centred runs keep their length and variety, which the drift metrics below measure. The paper's "
        "repository has the same ablation (group_std, group_mean); none of its figures are known."
    ),
    subject="Advantages",
    setting="advantages",
    label=normalisation,
    baseline=NORMALISATIONS["group"],
    columns={
        "length (tokens)": length_text,
        "entropy (nats/token)": end_text("entropy"),
        "KL (nats)": end_text("kl", 1),
    },
    notes=[LENGTH_NOTE, f"Entropy of the policy, {END_NOTE}.", KL_NOTE],
    drift=True,
)

KL_BETA = SettingComparison(
    name="kl_beta",
    title="The KL penalty: beta 0, 0.01, 0.1",
    question=(
        "A penalty on the KL divergence from the untrained model is meant to keep a policy from gaming its reward. If "
        "CME can be gamed, runs with beta 0 end further away with no more, or less, true quality than the penalised "
        "runs. If it cannot, the penalty only slows training down, and quality depends on the distance alone. The "
        "paper trains its cells with beta 0 or 0.01 and its repository compares 0, 0.01 and 0.1; no figures of that "
        "comparison are known."
    ),
    subject="KL penalty",
    setting="beta",
    label=kl_weight,
    baseline="beta 0",
    columns={"KL (nats)": end_text("kl", 1), "length (tokens)": length_text},
    notes=[KL_NOTE, LENGTH_NOTE],
    figure=distance_plot,
    drift=True,
)

GRANULARITY = SettingComparison(
    name="granularity",
    title="Granularity: one value per response, one per token, and reverse KL",
    question=(
        "CME as one value per response, as one value per token of the generator (dense), and, with the same verifier, "
        "the reverse KL divergence: the mean of CME minus the policy's own log-likelihood. If credit per token is "
        "worth its alignment, token reaches more, or reaches the same sooner. The paper's repository has all three; "
        "its released results use one value per response, and no figures of the comparison are known."
    ),
    subject="Granularity",
    setting="granularity",
    label=granularity,
    baseline="CME",
    columns={"halfway at step": halfway_text, "length (tokens)": length_text},
    notes=[
        "Halfway at step: for each seed, the first step at which the true quality of the sampled responses (running "
        f"mean over {WINDOW} steps) is halfway from its start to the highest final quality of any setting of the same "
        "family and regime (mean over seeds); - means never, n/a without an oracle.",
        LENGTH_NOTE,
    ],
)

GROUP_SIZE = SettingComparison(
    name="group_size",
    title="Group size at equal completions per step",
    question=(
        "CME's advantage is a response's reward minus the mean of its group. A larger group estimates that mean "
        "better, but at equal cost each step then has fewer prompts. All runs here use the same number of completions "
        "per step, so a difference is due to how they are divided. The paper uses groups of 8 throughout and has no "
        "such comparison."
    ),
    subject="Group size",
    setting="groups",
    label=lambda run: f"groups of {group_size(run)}",
    baseline="groups of 8",
    columns={
        "prompts x completions": batch_shape,
        "SD in group": end_text("reward_std"),
        "KL (nats)": end_text("kl", 1),
    },
    notes=[
        "Prompts x completions: prompts per step and completions per prompt. SD in group: standard deviation of the "
        f"reward in a group in nats per token, {END_NOTE}.",
        KL_NOTE,
    ],
    figure=size_plot,
    check=equal_budget,
)

"""The ablations: granularity of the reward, normalisation of advantages, KL penalty, and group size."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import isnan, nan
from pathlib import Path

import pandas as pd

from analysis.experiments.base import Experiment, file_name
from analysis.experiments.method_tables import (
    ENTROPY,
    KL,
    LENGTH,
    WIN_RATE_COLUMNS,
    MethodColumn,
    baseline_table,
    end_column,
    end_values,
    evidence,
    methods_frame,
    summary_table,
    training,
    win_rates,
)
from analysis.experiments.methods import JudgedMethods, MethodRow, Methods
from analysis.figures.curves import seed_curve
from analysis.figures.paths import distance_plot
from analysis.figures.style import Plot
from analysis.records.frames import WINDOW
from analysis.records.names import display_name
from analysis.sections.base import Part
from analysis.sections.topics import drift_part
from cme.records import RunRecord

NORMALISATIONS = {"group": "divided by SD", "batch": "divided by the batch's SD", "none": "only centred"}


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


def batch_shape(row: MethodRow) -> str:
    """Prompts per step x completions per prompt, such as `8 x 8`."""
    shapes = (f"{completions(run) / group_size(run):g} x {group_size(run)}" for run in row.runs)
    return ", ".join(dict.fromkeys(shapes))


def budget_note(runs: Sequence[RunRecord]) -> str:
    """Whether all runs have the same number of completions per step."""
    budgets = sorted({completions(run) for run in runs})
    if len(budgets) == 1:
        return f"All runs have {budgets[0]} completions per step."
    shown = ", ".join(map(str, budgets))
    return f"The runs have different numbers of completions per step: {shown}. Compare only runs with equal numbers."


def halfway_steps(row: MethodRow) -> str:
    """For each seed, the first step at which quality is halfway from the start to the best final quality."""
    history, cell = row.view.named.history, row.cell
    level = halfway_level(history[(history["family"] == cell.family) & (history["regime"] == cell.regime)])
    return " ".join(first_step_at(history[history["run_id"] == run.run_id], level) for run in row.runs)


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


def distances(view: JudgedMethods) -> Iterator[Plot]:
    """Quality and win rate against the square root of the KL divergence."""
    if view.cells:
        groups = [[(row.cell, end_values(row.runs, "kl")) for row in group] for group in view.groups]
        name = file_name("distance", view.scale, view.judge)
        yield distance_plot(name, groups, view.named.history, view.named.styles())


def drift(name: str, views: Sequence[JudgedMethods], out: Path) -> Part:
    """How far the responses drifted from the untrained model's, for the experiment of that name."""
    named, subject = views[0].named, views[0].methods.subject
    return drift_part(named.runs, name, subject, out, named.labels)


ADVANTAGE_NORM = Experiment(
    name="advantage_norm",
    title="Advantages: divided by the group's standard deviation, or only centred",
    question=(
        "Division by the group's standard deviation gives every prompt the same weight, even if its responses differ "
        "only by noise. With centring alone, the spread of the reward sets the size of the step. If division drives "
        "collapse, the centred runs keep their length and variety, which the drift metrics below measure. The paper's "
        "repository has the same ablation (group_std, group_mean); none of its figures are known."
    ),
    views=Methods(
        "Advantages", "advantages", normalisation, baseline=NORMALISATIONS["group"], of_reward=True
    ),
    tables=(summary_table(*WIN_RATE_COLUMNS, LENGTH, ENTROPY, KL), baseline_table, evidence),
    figures=(win_rates, training),
    frame=methods_frame,
    appendices=(partial(drift, "advantage_norm"),),
)

KL_BETA = Experiment(
    name="kl_beta",
    title="The KL penalty: beta 0, 0.01, 0.1",
    question=(
        "A penalty on the KL divergence from the untrained model is meant to keep a policy from gaming its reward. If "
        "CME can be gamed, runs with beta 0 end further away with no more, or less, true quality than the penalised "
        "runs. If it cannot, the penalty only slows training down, and quality depends on the distance alone. The "
        "paper trains its cells with beta 0 or 0.01 and its repository compares 0, 0.01 and 0.1; no figures of that "
        "comparison are known."
    ),
    views=Methods("KL penalty", "beta", kl_weight, baseline="beta 0", of_reward=True),
    tables=(summary_table(*WIN_RATE_COLUMNS, KL, LENGTH), baseline_table, evidence),
    figures=(win_rates, distances, training),
    frame=methods_frame,
    appendices=(partial(drift, "kl_beta"),),
)

GRANULARITY = Experiment(
    name="granularity",
    title="Granularity: one value per response, one per token, and reverse KL",
    question=(
        "CME as one value per response, as one value per token of the generator (dense), and, with the same verifier, "
        "the reverse KL divergence: the mean of CME minus the policy's own log-likelihood. If credit per token is "
        "worth its alignment, token reaches more, or reaches the same sooner. The paper's repository has all three; "
        "its released results use one value per response, and no figures of the comparison are known."
    ),
    views=Methods("Granularity", "granularity", granularity, baseline="CME"),
    tables=(
        summary_table(
            *WIN_RATE_COLUMNS,
            MethodColumn(
                "halfway at step",
                halfway_steps,
                "Halfway at step: for each seed, the first step at which the true quality of the sampled responses "
                f"(running mean over {WINDOW} steps) is halfway from its start to the highest final quality of any "
                "setting of the same family and regime (mean over seeds); - means never, n/a without an oracle.",
            ),
            LENGTH,
        ),
        baseline_table,
        evidence,
    ),
    figures=(win_rates, training),
    frame=methods_frame,
)

GROUP_SIZE = Experiment(
    name="group_size",
    title="Group size at equal completions per step",
    question=(
        "CME's advantage is a response's reward minus the mean of its group. A larger group estimates that mean "
        "better, but at equal cost each step then has fewer prompts. All runs here use the same number of completions "
        "per step, so a difference is due to how they are divided. The paper uses groups of 8 throughout and has no "
        "such comparison."
    ),
    views=Methods(
        "Group size",
        "groups",
        lambda run: f"groups of {group_size(run)}",
        baseline="groups of 8",
        of_reward=True,
    ),
    tables=(
        summary_table(
            *WIN_RATE_COLUMNS,
            MethodColumn(
                "prompts x completions",
                batch_shape,
                "Prompts x completions: prompts per step and completions per prompt.",
            ),
            end_column(
                "SD in group",
                "reward_std",
                "SD in group: standard deviation of the reward in a group, in the reward's own unit",
            ),
            KL,
            note=budget_note,
        ),
        baseline_table,
        evidence,
    ),
    figures=(win_rates, training),
    frame=methods_frame,
)

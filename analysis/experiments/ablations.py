"""The ablations, and the experiments of a user: methods that differ in one setting, in a few lines each."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.experiments.base import Experiment
from analysis.experiments.methods import (
    JudgedMethods,
    MethodColumn,
    MethodRow,
    Methods,
    baseline_table,
    compare_methods,
    evidence_tables,
    seed_tables,
    training_plots,
    win_rate_plots,
)
from analysis.figures.curves import styles_by_method
from analysis.figures.paths import distance_plot
from analysis.figures.style import Plot
from analysis.records.frames import WINDOW
from analysis.records.names import display_name, plain_name, reward_name
from analysis.sections.base import Part
from analysis.sections.topics import drift_part
from analysis.stats.win_rates import quality_change
from analysis.tables.render import format_estimate
from cme.records import RunRecord

NORMALISATIONS = {"group": "divided by SD", "batch": "divided by the batch's SD", "none": "only centred"}


def describe_normalisation(run: RunRecord) -> str:
    """How the advantages were normalised."""
    value = str(run.config["trainer"]["scale_rewards"])
    return NORMALISATIONS.get(value, f"scale_rewards {value}")


def describe_granularity(run: RunRecord) -> str:
    """CME with one value per response or per token, or reverse KL."""
    if run.reward != "cme":
        return display_name(run.reward)
    return {"sequence": "CME", "token": "CME (dense)"}[run.config["reward"]["granularity"]]


def describe_batch(row: MethodRow) -> str:
    """Prompts x completions per prompt of a step on one device, such as `8 x 8 = 64`."""
    shapes: dict[str, None] = {}
    for trainer in (run.config["trainer"] for run in row.runs):
        group = int(trainer["num_generations"])
        total = int(trainer["per_device_train_batch_size"]) * int(trainer["gradient_accumulation_steps"])
        shapes[f"{total / group:g} x {group} = {total}"] = None
    return ", ".join(shapes)


def describe_length(row: MethodRow) -> str:
    """Mean response length before and after training, in tokens, with the paired change and its interval."""
    pairs = [pair for run in row.runs for pair in run.pairs]
    start = np.array([pair.start.tokens for pair in pairs], dtype=float)  # None as NaN
    policy = np.array([pair.policy.tokens for pair in pairs], dtype=float)
    length = quality_change(start, policy, np.array([pair.prompt_id for pair in pairs], dtype=object))
    if length is None:
        return "n/a"
    change = format_estimate(length.difference, length.lo, length.hi, sign="+")
    return f"{length.start:.1f} → {length.policy:.1f} ({change})"


def end_values(history: pd.DataFrame, column: str) -> "pd.Series[float]":
    """By run, the mean of a column over the WINDOW steps up to its last known value."""
    known = history.dropna(subset=[column])
    last = known.groupby("run_id")["step"].transform("max")
    return known[known["step"] > last - WINDOW].groupby("run_id")[column].mean()


def end_column(header: str, name: str, what: str, decimals: int = 2) -> MethodColumn:
    """A column of the end values of a history column; `what` explains it in the note."""

    def text(row: MethodRow) -> str:
        values = end_values(row.history, name)
        if values.empty:
            return "n/a"
        spread = f" ({values.min():.{decimals}f} to {values.max():.{decimals}f})" if len(values) > 1 else ""
        return f"{values.mean():.{decimals}f}{spread}"

    note = "on training prompts at the end of training: mean over seeds, in parentheses the lowest and highest seed."
    return MethodColumn(header, text, f"{what}, {note}")


LENGTH = MethodColumn(
    "length (tokens)",
    describe_length,
    "Length: mean tokens of the responses to the evaluation prompts, untrained model → policy, with the paired "
    "difference and its 95 % interval over prompts.",
)
KL = end_column(
    "KL (nats)", "kl", "KL: divergence of the policy from the untrained model in nats per response", 1
)


def distance_plots(view: JudgedMethods) -> Iterator[Plot]:
    """Quality and win rate against the square root of the KL divergence."""
    if view.cells:
        groups = [[(row.cell, list(end_values(row.history, "kl"))) for row in group] for group in view.groups]
        history = view.named.history
        name = f"distance {view.scale} {view.judge}"
        yield distance_plot(name, groups, history, styles_by_method(history))


def write_drift(name: str, views: Sequence[JudgedMethods], out: Path) -> Part:
    """How far the responses drifted from the untrained model's, for the experiment of that name."""
    named, subject = views[0].named, views[0].methods.subject
    return drift_part(named.runs, name, subject, out, named.labels)


ADVANTAGE_NORM = compare_methods(
    name="advantage_norm",
    title="Advantages: divided by the group's standard deviation, or only centred",
    question=(
        "Division by the group's standard deviation gives every prompt the same weight, even if its responses differ "
        "only by noise. With centring alone, the spread of the reward sets the size of the step. If division drives "
        "collapse, the centred runs keep their length and variety, which the drift metrics below measure. The paper's "
        "repository has the same ablation (group_std, group_mean); none of its figures are known."
    ),
    methods=Methods(
        "Advantages", "advantages", describe_normalisation, baseline=NORMALISATIONS["group"], of_reward=True
    ),
    columns=(LENGTH, end_column("entropy (nats/token)", "entropy", "Entropy of the policy"), KL),
    appendices=(partial(write_drift, "advantage_norm"),),
)

KL_BETA = compare_methods(
    name="kl_beta",
    title="The KL penalty: beta 0, 0.01, 0.1",
    question=(
        "A penalty on the KL divergence from the untrained model is meant to keep a policy from gaming its reward. If "
        "CME can be gamed, runs with beta 0 end further away with no more, or less, true quality than the penalised "
        "runs. If it cannot, the penalty only slows training down, and quality depends on the distance alone. The "
        "paper trains its cells with beta 0 or 0.01 and its repository compares 0, 0.01 and 0.1; no figures of that "
        "comparison are known."
    ),
    methods=Methods(
        "KL penalty",
        "beta",
        lambda run: f"beta {float(run.config['trainer']['beta']):g}",
        baseline="beta 0",
        of_reward=True,
    ),
    columns=(KL, LENGTH),
    figures=(win_rate_plots, distance_plots, training_plots),
    appendices=(partial(write_drift, "kl_beta"),),
)

GRANULARITY = compare_methods(
    name="granularity",
    title="Granularity: one value per response, one per token, and reverse KL",
    question=(
        "CME as one value per response, as one value per token of the generator (dense), and, with the same verifier, "
        "the reverse KL divergence: the mean of CME minus the policy's own log-likelihood. If credit per token is "
        "worth its alignment, token reaches more, or reaches the same sooner, which the training curves show. The "
        "paper's repository has all three; its released results use one value per response, and no figures of the "
        "comparison are known."
    ),
    methods=Methods("Granularity", "granularity", describe_granularity, baseline="CME"),
    columns=(LENGTH,),
)

GROUP_SIZE = compare_methods(
    name="group_size",
    title="Group size at equal completions per step",
    question=(
        "CME's advantage is a response's reward minus the mean of its group. A larger group estimates that mean "
        "better, but at equal cost each step then has fewer prompts. Runs with the same number of completions per "
        "step differ only in how they are divided; compare no others. The paper uses groups of 8 throughout and has no "
        "such comparison."
    ),
    methods=Methods(
        "Group size",
        "groups",
        lambda run: f"groups of {int(run.config['trainer']['num_generations'])}",
        baseline="groups of 8",
        of_reward=True,
    ),
    columns=(
        MethodColumn(
            "prompts x completions",
            describe_batch,
            "Prompts x completions: prompts per step, completions per prompt, and completions per step.",
        ),
        end_column(
            "SD in group",
            "reward_std",
            "SD in group: standard deviation of the reward in a group, in the reward's own unit",
        ),
        KL,
    ),
)


def declare_own_experiment(name: str) -> Experiment[JudgedMethods]:
    """The declaration of an experiment that a user named."""
    return compare_methods(
        name=name,
        title=f"Experiment: {plain_name(name)}",
        question=(
            "Each method against its untrained model and, on the same prompts, against CME. Methods are named by "
            "their reward and by the settings in which otherwise equal runs differ."
        ),
        methods=Methods(plain_name(name).capitalize(), "method", reward_name),
        tables=(baseline_table, seed_tables, evidence_tables),
    )

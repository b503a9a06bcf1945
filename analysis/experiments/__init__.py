"""The sections of the report on named experiments: each is a declaration, `analysis.experiments.base.Experiment`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.experiments.ablations import (
    ADVANTAGE_NORM,
    GRANULARITY,
    GROUP_SIZE,
    KL_BETA,
    declare_own_experiment,
)
from analysis.experiments.base import Experiment
from analysis.experiments.independence import INDEPENDENCE
from analysis.experiments.main_table import MAIN_TABLE
from analysis.experiments.math import MATH
from analysis.experiments.overoptimisation import OVEROPTIMISATION
from analysis.experiments.rewards import REWARDS
from analysis.experiments.verifier_sweep import VERIFIER_SWEEP, VERIFIER_SWEEP_MATH
from analysis.records.builds import pool_builds
from analysis.records.read import OVERVIEW, Records
from analysis.sections.base import NothingToShow, Part, Section
from analysis.tables.render import slug
from cme.records import ExperimentRecord

EXPERIMENTS: dict[str, Experiment[Any]] = {
    experiment.name: experiment
    for experiment in (
        MAIN_TABLE,
        REWARDS,
        VERIFIER_SWEEP,
        VERIFIER_SWEEP_MATH,
        replace(
            VERIFIER_SWEEP_MATH, name="verifier_sweep_math_llama", title="The same with Llama-3.2-1B-Instruct"
        ),
        replace(VERIFIER_SWEEP_MATH, name="verifier_sweep_math_qwen", title="The same with Qwen2.5-1.5B"),
        GRANULARITY,
        ADVANTAGE_NORM,
        KL_BETA,
        GROUP_SIZE,
        INDEPENDENCE,
        OVEROPTIMISATION,
        MATH,
        replace(MATH, name="predictive_entropy", title="Mathematics with the verifier's predictive entropy"),
    )
}
"""The experiments that have a section, in the order of the report."""


def experiment_sections(records: Records, out: Path) -> list[Section]:
    """Write the sections of all experiments that have runs: ours first, then those that a user named.

    Experiments whose runs are in the overview alone have no section.
    """
    names = dict.fromkeys(plan.name for plan in records.experiments)
    named = {name: declare_own_experiment(name) for name in names if name not in (*EXPERIMENTS, OVERVIEW)}
    sections = []
    for name, experiment in (EXPERIMENTS | named).items():
        plans = [plan for plan in records.experiments if plan.name == name]
        if parts := [part for plan in plans for part in show_scale(experiment, plan, records, out)]:
            anchor = name.replace("_", "-") if name in EXPERIMENTS else f"experiment-{slug(name)}"
            sections.append(Section(anchor, experiment.title, experiment.question, parts))
    return sections


def show_scale(
    experiment: Experiment[Any], plan: ExperimentRecord, records: Records, out: Path
) -> list[Part]:
    """One experiment at one scale, a part for each data set, since win rates on different prompts are not compared.

    The data set with most runs comes first, and the others are named in their titles and files. The notes name missing
    runs and missing data.
    """
    runs, notes, total = [pool_builds(run) for run in records.select_runs(plan)], [], len(plan.runs)
    if missing := total - len(runs):
        notes.append(f"Scale {plan.scale}: {missing} of the experiment's {total} runs have no record yet.")
    parts: list[Part] = []
    for data, count in Counter(run.data for run in runs).most_common():
        own = [run for run in runs if run.data == data]
        try:
            part = experiment.show(own, out, data if parts else "")
        except NothingToShow as lack:
            part = Part([], [], [f"Scale {plan.scale}: nothing to show for its {count} runs: {lack}."])
        else:
            if not part.tables:
                unjudged = (
                    f"Scale {plan.scale}: none of its {count} runs has a verdict, so there is no table."
                )
                part = replace(part, notes=[*part.notes, unjudged])
        parts.append(replace(part, notes=[*part.notes, *(notes if not parts else [])]))
    return parts

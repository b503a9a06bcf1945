"""The section of an experiment that a user named: its methods against the untrained model and against CME."""

from analysis.experiments.base import Experiment
from analysis.experiments.method_tables import (
    WIN_RATE_COLUMNS,
    baseline_table,
    evidence,
    methods_frame,
    seeds,
    summary_table,
    training,
    win_rates,
)
from analysis.experiments.methods import JudgedMethods, Methods
from analysis.records.names import display_name, plain_name


def own_experiment(name: str) -> Experiment[JudgedMethods]:
    """The declaration of an experiment that this project does not know."""
    subject = plain_name(name).capitalize()
    return Experiment(
        name=name,
        title=f"Experiment: {plain_name(name)}",
        question=(
            "Each method against its untrained model and, on the same prompts, against CME. Methods are named by "
            "their reward and by the settings in which otherwise equal runs differ."
        ),
        views=Methods(subject, "method", lambda run: display_name(run.reward)),
        tables=(summary_table(*WIN_RATE_COLUMNS), baseline_table, seeds, evidence),
        figures=(win_rates, training),
        frame=methods_frame,
    )

"""Advantages divided by the group's standard deviation, or only centred on its mean: what it does to collapse."""

from collections.abc import Sequence
from pathlib import Path

from analysis.experiments._settings import (
    LENGTH_NOTE,
    Compared,
    Extra,
    end_of,
    interval_plots,
    length_of,
    setting_tables,
    training_plots,
    written,
)
from analysis.sections.base import Part
from analysis.sections.drift_report import drift_part
from cme.records import RunRecord

TITLE = "Advantages: divided by the group's standard deviation, or only centred"
INTRO = (
    "Dividing by the group's standard deviation gives every prompt the same weight, also those whose responses differ "
    "by little but noise; centring alone lets the spread of the reward set the size of the step. If division drives "
    "collapse, the centred runs keep their length and their variety, as the drift metrics below have them. The paper's "
    "repository has the same ablation (group_std, group_mean); no figures of it are known."
)
LABELS = {"group": "divided by SD", "batch": "divided by the batch's SD", "none": "only centred"}


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and figures of one scale."""
    compared = Compared.by(label, runs)
    extra: dict[str, Extra] = {
        "length (tokens)": length_of,
        "entropy (nats/token)": end_of("entropy"),
        "KL (nats)": end_of("kl", 1),
    }
    notes = [
        LENGTH_NOTE,
        "Entropy of the policy, and KL: the policy's divergence from its start, in nats a response, both on training "
        "prompts at the end of training: mean over seeds, in parentheses the lowest and the highest.",
    ]
    tables = setting_tables(compared, "Advantages", "advantages", LABELS["group"], extra, notes)
    plots = interval_plots(compared, "Advantages")
    plots += training_plots(compared, compared.ramp(), "advantages")
    own = written("advantage_norm", compared, tables, plots, out)
    drift = drift_part(compared.runs, "advantage_norm", out, compared.labels)
    return Part([*own.tables, *drift.tables], [*own.images, *drift.images])


def label(run: RunRecord) -> str:
    """How the advantages were normalised."""
    value = str(run.config["trainer"]["scale_rewards"])
    return LABELS.get(value, f"scale_rewards {value}")

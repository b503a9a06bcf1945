"""How a run's verifier is related to its generator, and what it knows."""

from collections.abc import Iterable

import numpy as np

from analysis.figures.style import Style
from analysis.records.names import sort_names
from analysis.stats.metrics import win_rate
from analysis.tables.render import UNKNOWN, Estimate
from cme.records import RunRecord

RELATIONS = {
    "random weights": Style("#767676", "v"),
    "itself": Style("#D55E00", "D"),
    "same family": Style("#E69F00", "s"),
    "other family": Style("#0072B2", "o"),
    "ensemble": Style("#009E73", "P"),
    "random reward": Style("#767676", "X"),
    "ground truth": Style("#000000", "*"),
}
"""How a verifier is related to its generator, or the control that uses none, with the style of each."""
CONTROLS = {
    "random": "random reward",
    **dict.fromkeys(("ground_truth", "ground_truth_answer"), "ground truth"),
}
"""The relation of rewards that use no verifier."""
KNOWLEDGE = (
    *("random", "pretrained", "sft", "instruct"),
    *("verifier_50", "verifier_70", "verifier_85", "verifier"),
)
"""The training of a checkpoint, from least to most knowledge."""


def relation(run: RunRecord) -> str:
    """How a run's verifier is related to its generator; the name of the control for a reward without a verifier."""
    if run.reward in CONTROLS:
        return CONTROLS[run.reward]
    checkpoints = run.verifier_checkpoint.split(", ")
    if len(checkpoints) > 1:
        return "ensemble"
    if checkpoints[0].startswith("random:"):
        return "random weights"
    if checkpoints[0] == run.generator_checkpoint:
        return "itself"
    families = {name.partition("_")[0] for name in (run.config["verifier"]["family"], run.family)}
    return "same family" if len(families) == 1 else "other family"  # qwen_math is of the family qwen


def knowledge(run: RunRecord) -> str:
    """The training of a run's verifier: the last part of its checkpoint's name; `none` for a control."""
    if run.reward in CONTROLS:
        return "none"
    if run.verifier_checkpoint.startswith("random:"):
        return KNOWLEDGE[0]
    parts = (name.split("/")[-1] for name in run.verifier_checkpoint.split(", "))
    return " + ".join(sort_names(parts, KNOWLEDGE))


def own_quality(runs: Iterable[RunRecord]) -> Estimate:
    """A verifier's own true quality (0 to 1), its builds pooled, and its 95 % interval over prompts."""
    graded = {run.build: run for run in runs if run.verifier_quality is not None}.values()
    if not graded:
        return UNKNOWN
    values = np.array([quality for run in graded for quality in run.verifier_quality or []])  # from 0 to 1
    prompts = np.array([pair.prompt_id for run in graded for pair in run.pairs], dtype=object)
    mean = win_rate(values, prompts)
    return Estimate(mean.rate / 100, mean.lo / 100, mean.hi / 100)

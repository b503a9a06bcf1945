"""How a run's verifier is related to its generator, and what it knows."""

from analysis.records.names import sort_names
from cme.records import RunRecord

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

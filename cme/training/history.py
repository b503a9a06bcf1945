"""The history of a training: what was measured at each step, by column."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HISTORY = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "quality": "quality",
    "heldout": "heldout",
    "length": "completions/mean_length",
    "clipped": "completions/clipped_ratio",
    "repetition": "repetition",
    "entropy": "entropy",
    "kl": "kl_from_start",
    "unscored": "unscored",
    "accuracy": "accuracy",
    "majority_share": "majority_share",
    "label_accuracy": "label_accuracy",
    "semantic_entropy": "semantic_entropy",
    "loss": "loss",
    "grad_norm": "grad_norm",
}
"""Key in the trainer's log by column of the record. `cme.records.RunRecord` gives the units."""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training.

    Attributes:
        history: Columns of equal length with one entry per step, None where a value was not measured.
        stopped: Why training ended before its last step; None if it did not.
        earlier: Seconds that a resumed training had taken before the checkpoint that it resumed from.
        seconds: Seconds by part of the steps (`cme.training.step_clock`); empty where they are not measured.
        changed: Whether the weights are other than before the training.
    """

    history: dict[str, list[float | None]]
    stopped: str | None
    earlier: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    changed: bool = True

    @property
    def untrained(self) -> str | None:
        """Why the policy is the model that it began as; None where training changed it."""
        if not any(self.history.values()):
            return "the training made no step"
        return None if self.changed else "the training changed no weight"


def history_columns(logs: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """The trainer's log as columns of six significant digits; a value that is absent or not finite is None."""

    columns: dict[str, list[float | None]] = {}
    for column, key in HISTORY.items():
        if any(key in entry for entry in logs):
            values = [entry.get(key) for entry in logs]
            columns[column] = [
                float(f"{v:.6g}") if v is not None and math.isfinite(v) else None for v in values
            ]
    return columns

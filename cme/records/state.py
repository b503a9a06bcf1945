"""The state of a run: how its last attempt ended, and its current stage."""

from dataclasses import dataclass, field
from typing import Literal

from cme.records.codec import Count, Number, Strict


@dataclass(frozen=True)
class RunState(Strict):
    """How the last attempt at a run ended. The state stays `running` if the attempt was killed.

    Attributes:
        attempts: Number of attempts so far.
        seconds: Wall-clock seconds of the last attempt.
        reason: Why the attempt failed, in one line without secrets.
        traceback: The full traceback of a failed attempt, without secrets.
        record: Name of the record file in the run's folder; None until the run is done.
        unscored: Number of unscored verdicts in the record.
        comparators: The checkpoints of the finished comparators, by name.
        owner: The process that makes the attempt; None after its end.
    """

    state: Literal["running", "done", "failed", "interrupted"]
    attempts: Count
    seconds: Number = 0.0
    reason: str | None = None
    traceback: str | None = None
    record: str | None = None
    unscored: Count = 0
    comparators: dict[str, str] = field(default_factory=dict)
    owner: str | None = None
    schema: int = 1


@dataclass(frozen=True)
class Progress(Strict):
    """The current stage of a run; while it trains, also the step, the number of steps and the seconds per step."""

    stage: str
    step: Count | None = None
    steps: Count | None = None
    seconds_per_step: Number | None = None

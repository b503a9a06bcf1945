"""Where a run stands: how its last attempt ended, and what it is doing now."""

from dataclasses import dataclass, field
from typing import Literal

from cme.records.codec import Strict


@dataclass(frozen=True)
class RunState(Strict):
    """How the last attempt at a run ended; a killed attempt leaves `running` behind.

    Attributes:
        attempts: Number of attempts so far.
        seconds: Wall-clock seconds of the last attempt.
        reason: Why the attempt failed, in one line without secrets.
        traceback: The full traceback of a failed attempt, without secrets.
        record: Name of the record file in the run's folder, once the run is done.
        unscored: Number of unscored verdicts in the record.
        comparators: The finished comparators: checkpoint by name.
        owner: The process at work; None once it has ended.
    """

    state: Literal["running", "done", "failed", "interrupted"]
    attempts: int
    seconds: float = 0.0
    reason: str | None = None
    traceback: str | None = None
    record: str | None = None
    unscored: int = 0
    comparators: dict[str, str] = field(default_factory=dict)
    owner: str | None = None
    schema: int = 1


@dataclass(frozen=True)
class Progress(Strict):
    """The stage that a run is in; while it trains, also the step, the number of steps and the seconds per step."""

    stage: str
    step: int | None = None
    steps: int | None = None
    seconds_per_step: float | None = None

"""What came of training on mathematics under each verifier: pass@1 before and after, and the verifier's own worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any

from analysis.experiments._verifiers import KINSHIP, KNOWLEDGE, kinship, knowledge, labels, own_quality
from analysis.figures.style import Style
from analysis.records.names import order_key
from analysis.sections.accuracy import accuracy_frame, correct_by_prompt
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.metrics import Tally
from cme.records import RunRecord


@dataclass(frozen=True, eq=False)
class Arm:
    """Training under one verifier: its kinship to the generator, its own worth, and pass@1 before and after.

    `own` is the verifier's own true quality (0-1) with its 95 % interval over prompts, NaN where it is not recorded.
    `shares` is the row of `accuracy_frame` (shares, 0-1, intervals over prompts). `after` holds pass@1 by prompt and
    run; `change` is it less that before, in percentage points, None where no prompt is graded.
    """

    label: str
    kin: str
    knowledge: str
    own: tuple[float, float, float]
    shares: Mapping[Any, Any]
    after: Tally | None
    change: Contrast | None
    runs: Sequence[RunRecord]

    @property
    def style(self) -> Style:
        """How it is drawn: by its kinship."""
        return KINSHIP[self.kin]


def arms(runs: Sequence[RunRecord]) -> list[Arm]:
    """One generator's arms, from random weights through the least able verifier to the most able one.

    By their own true quality where that is known of all, or else by what each was made to know.
    """
    called = labels(runs)
    found = [
        arm(label, [run for run in runs if called[run.run_id] == label])
        for label in dict.fromkeys(called.values())
    ]
    measured = not any(isnan(of.own[0]) for of in found)

    def ability(of: Arm) -> tuple[bool, float, tuple[int, str], str]:
        own = of.own[0] if measured else inf
        return of.kin != "random weights", own, order_key(of.knowledge, KNOWLEDGE), of.label

    return sorted(found, key=ability)


def arm(label: str, runs: Sequence[RunRecord]) -> Arm:
    """What came of training under one verifier, of the policies that training ended with."""
    [shares] = [row for row in accuracy_frame(runs).to_dict("records") if row["policy"] == "final"]
    before, after = correct_by_prompt(runs)
    return Arm(
        label=label,
        kin=kinship(runs[0]),
        knowledge=knowledge(runs[0]),
        own=own_quality(runs),
        shares=shares,
        after=after if len(after.prompts) else None,
        change=contrast(after, before) if len(after.prompts) else None,
        runs=runs,
    )

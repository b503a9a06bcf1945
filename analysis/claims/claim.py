"""A claim of the paper, and the verdict of one scale's records on it."""

from dataclasses import dataclass, field

from analysis.claims.evidence import Evidence
from analysis.claims.measures import Measure
from analysis.claims.rules import UNTESTED, Result, Rule, decide
from analysis.records.names import REGIMES

FAMILIES = ("qwen", "llama", "gemma", "olmo")
NO_FIGURE = "no figure at hand"


@dataclass(frozen=True)
class Claim:
    """A claim: measure and rule that decide it, the published figure, where the paper makes it, and what tests it.

    `whole_grid`: it is reproduced only if every cell of the grid ran. `paper_scale`: only records of the paper's own
    scale can decide it.
    """

    name: str
    text: str
    measure: Measure
    rule: Rule
    published: str = NO_FIGURE
    where: str = field(kw_only=True)
    experiments: tuple[str, ...] = field(kw_only=True)
    whole_grid: bool = False
    paper_scale: bool = False

    @property
    def criterion(self) -> str:
        """What supports and what contradicts the claim, in words."""
        return f"{self.measure.quantity}: {self.rule.text}"

    def judge(self, evidence: Evidence) -> Result:
        """The verdict of the records of one scale."""
        parts = self.measure.parts(evidence)
        if self.paper_scale and parts and evidence.scale != "paper":
            rates = [part.value for part in parts]
            return Result(
                UNTESTED,
                f"A win rate depends on checkpoints, prompts and judge: {min(rates):.1f} to {max(rates):.1f} % at "
                f"{evidence.scale} scale is no second measurement of the published range.",
            )
        result = decide(parts, self.rule, self.measure.missing, self.measure.note(evidence))
        grid = {f"{family} {regime}" for family in FAMILIES for regime in REGIMES}
        missing = grid - {part.name for part in parts}
        if self.whole_grid and missing and result.verdict == "reproduced":
            reason = f"{result.reason} But {len(missing)} of the {len(grid)} cells have no run."
            return Result(UNTESTED, reason, result.parts)
        return result

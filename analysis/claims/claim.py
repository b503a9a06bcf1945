"""A claim of the paper, and the verdict of one scale's records on it."""

from dataclasses import dataclass

from analysis.claims.evidence import Evidence, Measure
from analysis.claims.rules import UNTESTED, Result, Rule, decide
from analysis.records.names import REGIMES

FAMILIES = ("qwen", "llama", "gemma", "olmo")


@dataclass(frozen=True)
class Claim:
    """A claim: where the paper makes it, the published figure, the experiments that test it, the measure and the rule.

    `by_verdicts`: win rates decide it, so it depends on their judge. `whole_grid`: it is reproduced only if every cell
    of the grid ran. `paper_scale`: only records of the paper's own scale can decide it.
    """

    name: str
    text: str
    where: str
    published: str
    experiments: tuple[str, ...]
    measure: Measure
    rule: Rule
    by_verdicts: bool = False
    whole_grid: bool = False
    paper_scale: bool = False

    def judge(self, evidence: Evidence) -> Result:
        """The verdict of the records of one scale."""
        found = self.measure(evidence)
        if self.paper_scale and found.parts and evidence.scale != "paper":
            rates = [part.value for part in found.parts]
            return Result(
                UNTESTED,
                f"A win rate depends on checkpoints, prompts and judge: {min(rates):.1f} to {max(rates):.1f} % at "
                f"{evidence.scale} scale is no second measurement of the published range.",
            )
        result = decide(found.parts, self.rule, found.missing, found.note)
        grid = {f"{family} {regime}" for family in FAMILIES for regime in REGIMES}
        missing = grid - {part.name for part in found.parts}
        if self.whole_grid and missing and result.verdict == "reproduced":
            reason = f"{result.reason} But {len(missing)} of the {len(grid)} cells have no run."
            return Result(UNTESTED, reason, result.parts)
        return result

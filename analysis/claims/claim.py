"""A claim of the paper, and the verdict of one scale's records on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analysis.claims.evidence import Evidence
from analysis.claims.measures import Measure
from analysis.claims.parts import Part, add_builds
from analysis.claims.rules import UNTESTED, Quantifier, Result, Rule, decide
from analysis.records.names import REGIMES, generator_name

FAMILIES = ("qwen", "llama", "gemma", "olmo")
NO_FIGURE = "no published figure"


@dataclass(frozen=True)
class Claim:
    """A claim: measure and rule that decide it, the published figure, where the paper makes it, and what tests it.

    Attributes:
        quantifier: Whether the claim is about all comparisons or says that there is one.
        whole_grid: It is reproduced only if every cell of the grid ran.
        paper_scale: Only records of the paper's own scale can decide it.
        released: The comparisons that the counts of the released evaluation offer; None for other claims.
    """

    name: str
    text: str
    measure: Measure
    rule: Rule
    published: str = NO_FIGURE
    where: str = field(kw_only=True)
    experiments: tuple[str, ...] = field(kw_only=True)
    quantifier: Quantifier = field(kw_only=True, default="universal")
    whole_grid: bool = False
    paper_scale: bool = False
    released: Callable[[], Sequence[Part]] | None = None

    @property
    def criterion(self) -> str:
        """What supports and what contradicts the claim, in words."""
        return f"{self.measure.quantity}: {self.rule.text}"

    def judge(self, evidence: Evidence) -> Result:
        """The verdict of the records of one scale."""
        parts = add_builds(self.measure.parts(evidence, self.rule))
        if self.paper_scale and parts and evidence.scale != "paper":
            rates = [part.value for part in parts]
            return Result(
                UNTESTED,
                f"A win rate depends on checkpoints, prompts and judge: {min(rates):.1f} to {max(rates):.1f} % at "
                f"{evidence.scale} scale does not test the published range.",
            )
        note = self.measure.note(evidence, parts)
        result = decide(parts, self.rule, self.quantifier, self.measure.missing, note)
        grid = {generator_name(family, regime) for family in FAMILIES for regime in REGIMES}
        missing = grid - {part.name for part in parts}
        if self.whole_grid and missing and result.verdict == "reproduced":
            reason = f"{result.reason} But {len(missing)} of the {len(grid)} cells have no run."
            return Result("undecided", reason, result.parts, result.sides)
        return result

    def judge_released(self) -> Result | None:
        """The verdict of the counts of the released evaluation; None if they do not test the claim."""
        return (
            None if self.released is None else decide(self.released(), self.rule, self.quantifier, "no count")
        )

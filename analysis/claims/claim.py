"""A claim of the paper, and the verdicts of the records of each scale on it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from analysis.claims.evidence import Evidence
from analysis.claims.parts import Part, add_builds
from analysis.claims.rules import UNTESTED, Quantifier, Result, Rule, decide
from analysis.records.names import REGIMES, SCALES, generator_name, judge_label, sort_names
from analysis.records.read import Records
from analysis.sections.base import Scaled
from analysis.tables.judging.judges import Checked, check_judges, judge_standing, sanity_failures

FAMILIES = ("qwen", "llama", "gemma", "olmo")
GRID = {generator_name(family, regime) for family in FAMILIES for regime in REGIMES}
NO_FIGURE = "no published figure"
RELEASED = "released"
SOURCES = {RELEASED: "in the released evaluation", "imported": "in imported evaluations"}
"""How a verdict names evidence that is of no scale of this project."""


@dataclass(frozen=True)
class Measure:
    """A quantity with its unit, and the comparisons of it that the evidence offers a rule.

    `missing` is the reason if there are none; `note` is added to the reason of a verdict. `by_verdicts`: the quantity
    is made of win rates, so a claim about it depends on their judge.
    """

    quantity: str
    missing: str
    parts: Callable[[Evidence, Rule], Sequence[Part]]
    by_verdicts: bool = False
    note: Callable[[Evidence, Sequence[Part]], str] = lambda *_: ""


@dataclass(frozen=True)
class Claim:
    """A claim: measure and rule that decide it, the published figure, where the paper makes it, and what tests it.

    Attributes:
        letter: `a`, `b` and so on for the parts of one claim, which have its number and a verdict each; else empty.
        quantifier: Whether the claim is about all comparisons or says that there is one.
        mathematics: It is about problems with one right answer; other claims leave these out.
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
    letter: str = field(kw_only=True, default="")
    quantifier: Quantifier = field(kw_only=True, default="universal")
    mathematics: bool = False
    whole_grid: bool = False
    paper_scale: bool = False
    released: Callable[[], Sequence[Part]] | None = None

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
        missing = GRID - {part.name for part in parts}
        if self.whole_grid and missing and result.verdict == "reproduced":
            reason = f"{result.reason} But {len(missing)} of the {len(GRID)} cells have no run."
            return replace(result, verdict="undecided", reason=reason)
        return result


@dataclass(frozen=True)
class ClaimVerdict:
    """The result of one scale's records for a claim; `scale` and `judges` are empty if there are no records."""

    claim: Claim
    scale: str
    judges: str
    result: Result

    @property
    def place(self) -> str:
        """Where the verdict holds, such as `at miniature scale`."""
        return SOURCES.get(self.scale, f"at {self.scale} scale")

    @property
    def verdict(self) -> str:
        """The verdict, with its scale if there was a test."""
        tested = self.result.verdict != UNTESTED
        return f"{self.result.verdict} {self.place}" if tested else UNTESTED


def claim_numbers(claims: Iterable[Claim]) -> dict[str, str]:
    """The number of each claim by its name, such as `7`, or `8a` and `8b` for the parts of one claim."""
    numbers, number = {}, 0
    for claim in claims:
        number += claim.letter in ("", "a")
        numbers[claim.name] = f"{number}{claim.letter}"
    return numbers


def claim_verdicts(records: Records, claims: Sequence[Claim]) -> list[ClaimVerdict]:
    """A verdict for each claim and scale that has records for it, or one without a scale that says what is missing."""
    everything: list[Scaled] = [*records.runs, *records.separation]
    scales = sort_names((record.scale for record in everything), SCALES)

    @cache
    def evidence(scale: str, experiments: tuple[str, ...], mathematics: bool) -> Evidence:
        return Evidence.collect(records, scale, experiments, mathematics)

    verdicts, checked = [], check_judges(records.sanity)
    for claim in claims:
        found = [evidence(scale, claim.experiments, claim.mathematics) for scale in scales]
        tested = [own for own in found if own.runs or own.separation]
        for own in tested:
            used, left_out = without_failed_judges(checked, claim, own)
            judges = sort_names(run.judge for run in used.runs)
            names = " and ".join(map(judge_label, judges))
            names += "" if not judges else " judge" if len(judges) == 1 else " judges"
            result = withhold_by_sanity(checked, claim, used, claim.judge(used))
            if left_out:
                result = replace(result, reason=f"{result.reason.removesuffix('.')}. {left_out}")
            verdicts.append(ClaimVerdict(claim, own.scale, names, result))
        if claim.released is not None:
            counted = decide(claim.released(), claim.rule, claim.quantifier, "no count")
            verdicts.append(ClaimVerdict(claim, RELEASED, "", counted))
        elif not tested:
            reason = f"These records have no runs of the experiment {' or '.join(claim.experiments)}."
            verdicts.append(ClaimVerdict(claim, "", "", Result(UNTESTED, reason)))
    return verdicts


def without_failed_judges(
    checked: Sequence[Checked], claim: Claim, evidence: Evidence
) -> tuple[Evidence, str]:
    """The evidence without runs whose judge fails a sanity check, if win rates decide the claim and other runs remain.

    The sentence names the judges of the runs that are left out; it is empty without any.
    """
    if not claim.measure.by_verdicts:
        return evidence, ""
    failed = {record.judge for record, _ in checked if sanity_failures(record)}
    runs = [run for run in evidence.runs if run.judge not in failed]
    left_out = sort_names(run.judge for run in evidence.runs if run.judge in failed)
    if not left_out or not runs:
        return evidence, ""
    controls = [run for run in evidence.controls if run.judge not in failed]
    names = " and ".join(map(judge_label, left_out))
    sentence = f"Runs judged by {names} are left out, because of a failed sanity check."
    return replace(evidence, runs=runs, controls=controls), sentence


def withhold_by_sanity(checked: Sequence[Checked], claim: Claim, evidence: Evidence, found: Result) -> Result:
    """The result, without a verdict if win rates decide it and one of their judges fails its sanity check.

    It says if a judge has passed none.
    """
    if not claim.measure.by_verdicts or found.verdict == UNTESTED:
        return found
    judges = {run.judge for run in evidence.runs}
    failed = [text for record, _ in checked if record.judge in judges for text in sanity_failures(record)]
    if failed:
        return replace(found, verdict=UNTESTED, reason=f"{found.reason} But there is no verdict: {failed[0]}")
    standings = {judge_standing(cell.judge, cell.controls.runs, checked) for cell in evidence.cells}
    unchecked = " The judge is not validated: no passing sanity check of it is known."
    return replace(found, reason=f"{found.reason}{unchecked}") if "unchecked" in standings else found

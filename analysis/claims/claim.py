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
        grid = {generator_name(family, regime) for family in FAMILIES for regime in REGIMES}
        missing = grid - {part.name for part in parts}
        if self.whole_grid and missing and result.verdict == "reproduced":
            reason = f"{result.reason} But {len(missing)} of the {len(grid)} cells have no run."
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
    checked = check_judges(records.sanity)

    @cache
    def evidence(scale: str, experiments: tuple[str, ...], mathematics: bool) -> Evidence:
        return Evidence.collect(records, scale, experiments, mathematics)

    verdicts = []
    for claim in claims:
        found = [evidence(scale, claim.experiments, claim.mathematics) for scale in scales]
        tested = [own for own in found if own.runs or own.separation]
        verdicts += [judge_evidence(claim, own, checked) for own in tested]
        if claim.released is not None:
            counted = decide(claim.released(), claim.rule, claim.quantifier, "no count")
            verdicts.append(ClaimVerdict(claim, RELEASED, "", counted))
        elif not tested:
            reason = f"These records have no runs of the experiment {' or '.join(claim.experiments)}."
            verdicts.append(ClaimVerdict(claim, "", "", Result(UNTESTED, reason)))
    return verdicts


def judge_evidence(claim: Claim, evidence: Evidence, checked: Sequence[Checked]) -> ClaimVerdict:
    """The verdict of the records of one scale, with what the sanity checks of their judges show.

    If win rates decide the claim, runs whose judge fails a check are left out; without other runs there is no verdict.
    """
    failures: dict[str, str] = {}
    for record, _ in checked:
        for text in sanity_failures(record):
            failures.setdefault(record.judge, text)
    judges = sort_names(run.judge for run in evidence.runs)
    failed = [judge for judge in judges if judge in failures and claim.measure.by_verdicts]
    left_out = failed if len(failed) < len(judges) else []
    if left_out:
        runs, controls = (
            [run for run in chosen if run.judge not in left_out]
            for chosen in (evidence.runs, evidence.controls)
        )
        evidence = replace(evidence, runs=runs, controls=controls)
    result = claim.judge(evidence)
    verdict, reason = result.verdict, result.reason
    if claim.measure.by_verdicts and verdict != UNTESTED:
        standings = {judge_standing(cell.judge, cell.controls.runs, checked) for cell in evidence.cells}
        if failed and not left_out:
            failure = next(text for judge, text in failures.items() if judge in judges)
            verdict, reason = UNTESTED, f"{reason} But there is no verdict: {failure}"
        elif "unchecked" in standings:
            reason += " The judge is not validated: no passing sanity check of it is known."
    if left_out:
        names = " and ".join(map(judge_label, left_out))
        reason = f"{reason.removesuffix('.')}. Runs judged by {names} are left out, because of a failed sanity check."
    used = [judge_label(judge) for judge in judges if judge not in left_out]
    suffix = "" if not used else " judge" if len(used) == 1 else " judges"
    result = replace(result, verdict=verdict, reason=reason)
    return ClaimVerdict(claim, evidence.scale, f"{' and '.join(used)}{suffix}", result)

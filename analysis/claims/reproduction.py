"""`reproduction.md`: the paper's claims one by one, and the list of its tables and figures with ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isnan
from pathlib import Path

from analysis.claims.baselines import baselines_table
from analysis.claims.claim import Claim
from analysis.claims.claim_list import all_claims
from analysis.claims.counterparts import counterpart_table
from analysis.claims.evidence import Evidence
from analysis.claims.parts import Part
from analysis.claims.rules import UNTESTED, Result, Side
from analysis.records.names import SCALES, judge_label, sort_names
from analysis.records.read import Records
from analysis.sections.base import Scaled
from analysis.tables.judges import Checked, check_judges, judge_standing, sanity_failures
from analysis.tables.render import Entry, Table, to_markdown

INTRO = """# Reproduction, claim by claim

The claims of *Label-Free Reinforcement Learning via Cross-Model Entropy* (arXiv 2605.29009), each with the published
figure, ours, and a verdict that a stated rule derives from the records alone. `python -m analysis` writes this page.

A verdict holds for one scale. The miniature is a small world with a known truth, models of about a million parameters
and an exact judge: "reproduced at miniature scale" means that the mechanism shows there, not that the published number
holds. No published figure shares a column with ours.

Every claim rests on comparisons, each with a 95 % interval: over other prompts and other trainings with at least
three seeds, otherwise over other prompts alone, and over builds of the checkpoints where there are two, as its row
says. The claim says where the true value lies, beyond a margin that counts as no difference. A comparison supports
the claim if its interval lies wholly there, contradicts it if wholly elsewhere, and otherwise leaves it open.
p-values are corrected by Holm for the number of comparisons of the claim that are ruled on, so a row can be open
although its interval, which is not corrected, decides. One with fewer than 30 prompts is open.

A comparison is ruled on only if it is sensitive: where the truth is known, training on the ground truth passes the
same test in the same cell, and a perfect policy would be beyond the margin. Others are not testable and left out.
Where the truth is unknown, nothing shows that a cell could have shown a difference: an interval that reaches the
margin is open.

A universal claim is reproduced if every comparison supports it, and not reproduced if one contradicts it. An
existential claim is reproduced if one supports it, and not reproduced if all contradict it. Otherwise it is
undecided; without a comparison to rule on it is not testable. Win rates from a judge that fails its sanity check (it
prefers responses that are no better) decide nothing: not testable. A verdict by a judge that has passed none says so.
"""


RELEASED = "released"
FLOORED = (
    "The spread of the seeds cannot be told from noise. The interval takes the spread that could just be told, and may "
    "still be too narrow."
)
SOURCES = {RELEASED: "in the released evaluation", "imported": "in imported evaluations"}
"""How a verdict names evidence that is of no scale of this project."""


def at(scale: str) -> str:
    """Where a verdict holds."""
    return SOURCES.get(scale, f"at {scale} scale")


@dataclass(frozen=True)
class ClaimVerdict:
    """The result of one scale's records for a claim; `scale` and `judges` are empty if there are no records."""

    claim: Claim
    scale: str
    judges: str
    result: Result

    @property
    def verdict(self) -> str:
        """The verdict, with its scale if there was a test."""
        tested = self.result.verdict != UNTESTED
        return f"{self.result.verdict} {at(self.scale)}" if tested else UNTESTED


def write_reproduction(records: Records, out: Path) -> Path:
    """Write reproduction.md under `out`, after its tables and figures; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "reproduction.md"
    path.write_text(reproduction(records, out), encoding="utf-8")
    return path


def reproduction(records: Records, out: Path) -> str:
    """The page: the verdicts at a glance, the claims one by one, the published tables and figures."""
    claims = all_claims()
    verdicts = claim_verdicts(records, claims)
    parts = [INTRO, "## Verdicts\n", untitled(summary_table(verdicts)), "\n## Claim by claim\n"]
    for number, claim in enumerate(claims, 1):
        parts.append(section(number, claim, [verdict for verdict in verdicts if verdict.claim is claim]))
    shared = baselines_table(records)
    if shared.groups[0]:
        parts += ["## Cells that several experiments share\n", untitled(shared), ""]
    end = ["## Published tables and figures, and ours\n", untitled(counterpart_table(out)), ""]
    return "\n".join([*parts, *end])


def claim_verdicts(records: Records, claims: Sequence[Claim]) -> list[ClaimVerdict]:
    """A verdict for each claim and scale that has records for it, or one without a scale that says what is missing."""
    everything: list[Scaled] = [*records.runs, *records.separation]
    scales = sort_names((record.scale for record in everything), SCALES)

    @cache
    def evidence(scale: str, experiments: tuple[str, ...]) -> Evidence:
        return Evidence.collect(records, scale, experiments)

    verdicts, checked = [], check_judges(records.sanity)
    for claim in claims:
        found = [evidence(scale, claim.experiments) for scale in scales]
        tested = [own for own in found if own.runs or own.separation]
        for own in tested:
            judges = sort_names(run.judge for run in own.runs)
            result = withhold_by_sanity(checked, claim, own, claim.judge(own))
            names = " and ".join(map(judge_label, judges))
            names += "" if not judges else " judge" if len(judges) == 1 else " judges"
            verdicts.append(ClaimVerdict(claim, own.scale, names, result))
        if (counted := claim.judge_released()) is not None:
            verdicts.append(ClaimVerdict(claim, RELEASED, "", counted))
        elif not tested:
            reason = f"These records have no runs of the experiment {' or '.join(claim.experiments)}."
            verdicts.append(ClaimVerdict(claim, "", "", Result(UNTESTED, reason)))
    return verdicts


def withhold_by_sanity(checked: Sequence[Checked], claim: Claim, evidence: Evidence, found: Result) -> Result:
    """The result, without a verdict if win rates decide it and one of their judges fails its sanity check.

    It says if a judge has passed none.
    """
    if not claim.measure.by_verdicts or found.verdict == UNTESTED:
        return found
    judges = {run.judge for run in evidence.runs}
    failed = [text for record, _ in checked if record.judge in judges for text in sanity_failures(record)]
    if failed:
        reason = f"{found.reason} But there is no verdict: {failed[0]}"
        return replace(found, verdict=UNTESTED, reason=reason)
    standings = {judge_standing(cell.judge, evidence.runs_of(cell), checked) for cell in evidence.cells}
    unchecked = " The judge is not validated: no passing sanity check of it is known."
    return replace(found, reason=f"{found.reason}{unchecked}") if "unchecked" in standings else found


def summary_table(verdicts: Sequence[ClaimVerdict]) -> Table:
    """One row per claim and scale."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(v.claim.name for v in verdicts), 1)}
    rows = [
        [
            str(numbers[verdict.claim.name]),
            verdict.claim.name,
            verdict.scale or "-",
            summarise_parts(verdict),
            count_sample(verdict.result),
            verdict.verdict,
            verdict.claim.published,
        ]
        for verdict in verdicts
    ]
    return Table(
        name="reproduction",
        title="Verdicts",
        header=["", "claim", "scale", "ours", "over", "verdict", "published, the paper's scale"],
        groups=[[[*map(Entry, row)] for row in rows]],
        notes=[
            "Ours: how many of the testable comparisons support the claim; of all comparisons the lowest and the "
            "highest, with their 95 % intervals."
        ],
    )


def summarise_parts(verdict: ClaimVerdict) -> str:
    """How many testable comparisons support the claim, and the lowest and the highest of all."""
    rule, result = verdict.claim.rule, verdict.result
    parts = sorted((part for part in result.parts if not isnan(part.value)), key=lambda part: part.value)
    if not parts:
        return "-"
    testable = len(result.sides) - result.sides.count("not testable")
    ends = dict.fromkeys((rule.format(parts[0]), rule.format(parts[-1])))
    return f"{result.sides.count('supports')} of {testable}; {' to '.join(ends)}"


def count_sample(result: Result) -> str:
    """The numbers of prompts and seeds of a result; a measure along training has no evaluation prompts."""
    texts = []
    parts = [part for part in result.parts if not isnan(part.value)]
    for counts, unit in (([p.prompts for p in parts], "prompt"), ([p.seeds for p in parts], "seed")):
        if values := [count for count in counts if count]:
            ends = dict.fromkeys(map(str, (min(values), max(values))))
            texts.append(f"{'-'.join(ends)} {unit}{'' if max(values) == 1 else 's'}")
    return ", ".join(texts) or "-"


def section(number: int, claim: Claim, verdicts: Sequence[ClaimVerdict]) -> str:
    """One claim with its rule, and the result at each scale."""
    lines = [
        f"### {number}. {claim.name[0].upper()}{claim.name[1:]}",
        "",
        claim.text,
        "",
        f"- Where: {claim.where}.",
        f"- Published, at the paper's scale: {claim.published}.",
        f"- Tested by: {', '.join(claim.experiments)}.",
        f"- Supported by: {claim.criterion.rstrip('.')}.",
        f"- The claim is {claim.quantifier}: it is about "
        f"{'every comparison' if claim.quantifier == 'universal' else 'at least one comparison'}.",
        "",
    ]
    return "\n".join(lines + [text for verdict in verdicts for text in (at_scale(verdict), "")])


def at_scale(verdict: ClaimVerdict) -> str:
    """The result at one scale: verdict, reason, and the comparisons behind them."""
    result, rule = verdict.result, verdict.claim.rule
    judges = f" ({verdict.judges})" if verdict.judges else ""
    where = at(verdict.scale)
    where = f"{where[0].upper()}{where[1:]}{judges}: " if verdict.scale else ""
    text = f"{where}**{result.verdict}**. {result.reason[0].upper()}{result.reason[1:].rstrip('.')}."
    if not result.parts:
        return text
    rows = [
        [
            part.name,
            rule.format(part),
            part.scope,
            str(part.prompts or "-"),
            str(part.seeds),
            said(part, side),
        ]
        for part, side in zip(result.parts, result.sides, strict=True)
    ]
    header = ["comparison", "ours", "interval over", "prompts", "seeds", "says"]
    table = Table("", "", header, [[[*map(Entry, row)] for row in rows]], [])
    floored = f"\n\n- ‡ {FLOORED}" if any(part.floored for part in result.parts) else ""
    return f"{text}\n\n{untitled(table)}{floored}"


def said(part: Part, side: Side) -> str:
    """What a comparison says, with the reason if it is not testable and a mark if its seeds' part is at its floor."""
    reason = f": {part.insensitive}" if part.insensitive else ""
    return f"{side}{reason}{' ‡' if part.floored else ''}"


def untitled(table: Table) -> str:
    """A table in markdown without its title."""
    return to_markdown(table).split("\n", 2)[2].strip()

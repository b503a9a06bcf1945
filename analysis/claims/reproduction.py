"""`reproduction.md`: the paper's claims one by one, and the list of its tables and figures with ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.claims.claim_list import all_claims
from analysis.claims.claims import Claim
from analysis.claims.counterparts import counterpart_table
from analysis.claims.evidence import Evidence, by_scale
from analysis.claims.rules import Result, Verdict, format_part, part_side
from analysis.records.names import SCALES, sort_names
from analysis.records.read import Records
from analysis.sections.base import Scaled
from analysis.sections.sanity import sanity_failures
from analysis.tables.render import Entry, Table, to_markdown

UNTESTED: Verdict = "not testable here"
INTRO = """# Reproduction, claim by claim

The claims of *Label-Free Reinforcement Learning via Cross-Model Entropy* (arXiv 2605.29009), each with the published
figure, ours, and a verdict that a stated rule makes of the records alone. `python -m analysis` writes this page.

A verdict is about one scale. The miniature is a small world with a known truth, models of about a million parameters
and an exact judge: "reproduced at miniature scale" says that the mechanism shows there, not that the published number
holds. No published figure stands in one column with ours.

Every claim rests on comparisons, each with a 95 % interval: about other prompts and other trainings where there are
three seeds or more, else about other prompts alone, as its row says. A comparison supports the claim, contradicts it or
leaves it open, by the claim's rule; one over fewer than 30 prompts leaves it open. All support it: reproduced. Some do:
mixed. None does and at least one contradicts it: not reproduced. All are open, or there is none: not testable here.
Win rates by a judge that fails its sanity check (it prefers what is no better) decide nothing: not testable here.
"""


@dataclass(frozen=True)
class ClaimVerdict:
    """What one scale's records say of a claim; `scale` and `judges` are empty where there are no records."""

    claim: Claim
    scale: str
    judges: str
    result: Result

    @property
    def verdict(self) -> str:
        """The verdict with its scale, which it has where there was a test."""
        tested = self.result.verdict != UNTESTED
        return f"{self.result.verdict} at {self.scale} scale" if tested else UNTESTED


def write_reproduction(records: Records, out: Path) -> Path:
    """Write reproduction.md under `out`, after its tables and figures; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "reproduction.md"
    path.write_text(reproduction(records, out), encoding="utf-8")
    return path


def reproduction(records: Records, out: Path) -> str:
    """The page: the verdicts at a glance, the claims one by one, the published tables and figures."""
    claims = all_claims()
    rulings = rulings_of(records, claims)
    parts = [INTRO, "## Verdicts\n", untitled(summary_table(rulings)), "\n## Claim by claim\n"]
    for number, claim in enumerate(claims, 1):
        parts.append(section(number, claim, [ruling for ruling in rulings if ruling.claim is claim]))
    return "\n".join(
        [*parts, "## Published tables and figures, and ours\n", untitled(counterpart_table(out)), ""]
    )


def rulings_of(records: Records, claims: Sequence[Claim]) -> list[ClaimVerdict]:
    """A ruling for each claim and scale that has records for it, or one without a scale that says what is missing."""
    everything: list[Scaled] = [*records.runs, *records.separation]
    evidence = [by_scale(records, scale) for scale in sort_names((r.scale for r in everything), SCALES)]
    return [ruling for claim in claims for ruling in rulings_on(claim, evidence)]


def rulings_on(claim: Claim, evidence: Sequence[Evidence]) -> list[ClaimVerdict]:
    """The rulings on one claim."""
    rulings = [
        ClaimVerdict(
            claim, own.scale, judges_of(own, claim), withhold_by_sanity(own, claim, claim.judge(own, claim))
        )
        for own in evidence
        if any(own.has(name) for name in claim.experiments)
    ]
    nothing = Result(
        UNTESTED, f"From these records: experiment {' or '.join(claim.experiments)} has no runs."
    )
    return rulings or [ClaimVerdict(claim, "", "", nothing)]


def withhold_by_sanity(evidence: Evidence, claim: Claim, found: Result) -> Result:
    """The result, its verdict withheld where win rates decide it and a judge of theirs fails its sanity check."""
    judges = {run.judge for run in evidence.runs(*claim.experiments)}
    failed = [said for one in evidence.records.sanity if one.judge in judges for said in sanity_failures(one)]
    if not claim.by_verdicts or found.verdict == UNTESTED or not failed:
        return found
    return Result(UNTESTED, f"{found.reason} But no verdict: {failed[0]}", found.parts)


def judges_of(evidence: Evidence, claim: Claim) -> str:
    """The judges of the runs that test a claim, in words."""
    judges = sort_names(run.judge for run in evidence.runs(*claim.experiments))
    return f"{' and '.join(judges)} judge" if judges else ""


def summary_table(rulings: Sequence[ClaimVerdict]) -> Table:
    """A row a claim and scale."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(r.claim.name for r in rulings), 1)}
    rows = []
    for ruling in rulings:
        texts = [
            str(numbers[ruling.claim.name]),
            ruling.claim.name,
            ruling.scale or "-",
            summarise_parts(ruling.claim, ruling.result),
            count_sample(ruling.result),
            ruling.verdict,
            ruling.claim.published,
        ]
        rows.append([*map(Entry, texts)])
    return Table(
        name="reproduction",
        title="Verdicts",
        header=["", "claim", "scale", "ours", "over", "verdict", "published, the paper's scale"],
        groups=[rows],
        notes=[
            "Ours: how many comparisons support the claim, the lowest and the highest with their 95 % intervals."
        ],
    )


def summarise_parts(claim: Claim, result: Result) -> str:
    """The comparisons of a result in brief."""
    if not result.parts:
        return "-"
    supporting = sum(part_side(part, claim.rule) == "supports" for part in result.parts)
    ordered = sorted(result.parts, key=lambda part: part.value)
    ends = dict.fromkeys((format_part(ordered[0], claim.rule), format_part(ordered[-1], claim.rule)))
    return f"{supporting} of {len(ordered)}; {' to '.join(ends)}"


def count_sample(result: Result) -> str:
    """Prompts and seeds of a result."""
    texts = []
    for values, unit in (
        ([p.prompts for p in result.parts], "prompt"),
        ([p.seeds for p in result.parts], "seed"),
    ):
        ends = dict.fromkeys(map(str, (min(values), max(values)))) if any(values) else {}
        if ends:
            texts.append(f"{'-'.join(ends)} {unit}{'' if max(values) == 1 else 's'}")
    return ", ".join(texts) or "-"


def section(number: int, claim: Claim, rulings: Sequence[ClaimVerdict]) -> str:
    """One claim with its rule, and what each scale says of it."""
    lines = [
        f"### {number}. {claim.name[0].upper()}{claim.name[1:]}",
        "",
        claim.text,
        "",
        f"- Where: {claim.where}.",
        f"- Published, at the paper's scale: {claim.published}.",
        f"- Tested by: {', '.join(claim.experiments)}.",
        f"- Supported by: {claim.rule.text.rstrip('.')}.",
        "",
    ]
    return "\n".join(lines + [text for ruling in rulings for text in (of_scale(ruling), "")])


def of_scale(ruling: ClaimVerdict) -> str:
    """What one scale says of a claim: verdict, reason, and the comparisons behind them."""
    judges = f" ({ruling.judges})" if ruling.judges else ""
    place = f"At {ruling.scale} scale{judges}: " if ruling.scale else ""
    reason = f"{ruling.result.reason[0].upper()}{ruling.result.reason[1:].rstrip('.')}."
    text = f"{place}**{ruling.result.verdict}**. {reason}"
    if not ruling.result.parts:
        return text
    rule = ruling.claim.rule
    rows = [
        [
            *map(
                Entry,
                (
                    p.name,
                    format_part(p, rule),
                    p.about,
                    str(p.prompts or "-"),
                    str(p.seeds),
                    part_side(p, rule),
                ),
            )
        ]
        for p in ruling.result.parts
    ]
    table = Table("", "", ["comparison", "ours", "interval over", "prompts", "seeds", "says"], [rows], [])
    return f"{text}\n\n{untitled(table)}"


def untitled(table: Table) -> str:
    """A table in markdown that stands under a heading of the page's own."""
    return to_markdown(table).split("\n", 2)[2].strip()

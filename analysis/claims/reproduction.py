"""`reproduction.md`: the paper's claims one by one, and the list of its tables and figures with ours."""

from collections.abc import Sequence
from math import isnan
from operator import attrgetter
from pathlib import Path

import pandas as pd

from analysis.claims.claim import Claim, ClaimVerdict, claim_numbers, claim_verdicts
from analysis.claims.claim_list import all_claims
from analysis.claims.parts import Part
from analysis.claims.rules import Result, Side
from analysis.records.builds import OFFSET, pool_builds
from analysis.records.grouping import group_by
from analysis.records.names import (
    SCALES,
    generator_name,
    order_key,
    result_settings,
    reward_name,
    verifier_name,
)
from analysis.records.read import Records
from analysis.tables.render import Column, Entry, Table, build_table, group_rows, to_markdown
from cme.records import RunRecord

PAGE = Path(__file__).with_name("page")
COUNTERPARTS = PAGE / "counterparts.csv"
"""By published table or figure: the file of its numbers, the command that makes ours, and patterns of our files."""
WANTED_SEEDS = 5
"""The seeds of a baseline of several experiments: its error is in all of their findings at once."""
FLOORED = (
    "The spread of the seeds cannot be told from noise. The interval takes the spread that could just be told, and may "
    "still be too narrow."
)


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
    introduction = (PAGE / "introduction.md").read_text(encoding="utf-8")
    parts = [introduction, "## Verdicts\n", untitled(summary_table(verdicts)), "\n## Claim by claim\n"]
    numbers = claim_numbers(claims)
    for claim in claims:
        parts.append(
            section(numbers[claim.name], claim, [verdict for verdict in verdicts if verdict.claim is claim])
        )
    shared = baselines_table(records)
    if shared.groups:
        parts += ["## Cells that several experiments share\n", untitled(shared), ""]
    end = ["## Published tables and figures, and ours\n", untitled(counterpart_table(out)), ""]
    return "\n".join([*parts, *end])


def summary_table(verdicts: Sequence[ClaimVerdict]) -> Table:
    """One row per claim and scale."""
    numbers = claim_numbers({verdict.claim.name: verdict.claim for verdict in verdicts}.values())
    return build_table(
        name="reproduction",
        title="Verdicts",
        columns=[
            Column("", lambda verdict: numbers[verdict.claim.name]),
            Column("claim", lambda verdict: verdict.claim.name),
            Column("scale", lambda verdict: verdict.scale or "-"),
            Column("ours", summarise_parts),
            Column("over", lambda verdict: count_sample(verdict.result)),
            Column("verdict", lambda verdict: verdict.verdict),
            Column("published, the paper's scale", lambda verdict: verdict.claim.published),
        ],
        groups=[verdicts],
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


def section(number: str, claim: Claim, verdicts: Sequence[ClaimVerdict]) -> str:
    """One claim with its rule, and the result at each scale."""
    about = "every comparison" if claim.quantifier == "universal" else "at least one comparison"
    lines = [
        f"### {number}. {capitalise(claim.name)}",
        "",
        claim.text,
        "",
        f"- Where: {claim.where}.",
        f"- Published, at the paper's scale: {claim.published}.",
        f"- Tested by: {', '.join(claim.experiments)}.",
        f"- Supported by: {claim.measure.quantity}: {claim.rule.text.rstrip('.')}.",
        f"- The claim is {claim.quantifier}: it is about {about}.",
        "",
    ]
    return "\n".join(lines + [text for verdict in verdicts for text in (at_scale(verdict), "")])


def at_scale(verdict: ClaimVerdict) -> str:
    """The result at one scale: verdict, reason, and the comparisons behind them."""
    result, rule = verdict.result, verdict.claim.rule
    judges = f" ({verdict.judges})" if verdict.judges else ""
    where = f"{capitalise(verdict.place)}{judges}: " if verdict.scale else ""
    text = f"{where}**{result.verdict}**. {capitalise(result.reason.rstrip('.'))}."
    if not result.parts:
        return text
    columns: list[Column[tuple[Part, Side]]] = [
        Column("comparison", lambda row: row[0].name),
        Column("ours", lambda row: rule.format(row[0])),
        Column("interval over", lambda row: row[0].scope),
        Column("prompts", lambda row: str(row[0].prompts or "-")),
        Column("seeds", lambda row: str(row[0].seeds)),
        Column("says", lambda row: describe_side(*row)),
    ]
    table = build_table("", "", columns, [zip(result.parts, result.sides, strict=True)])
    floored = f"\n\n- ‡ {FLOORED}" if any(part.floored for part in result.parts) else ""
    return f"{text}\n\n{untitled(table)}{floored}"


def describe_side(part: Part, side: Side) -> str:
    """What a comparison says, why if it is left out, and the mark of seeds at their floor."""
    reason = f": {part.insensitive}" if part.insensitive else ""
    return f"{side}{reason}{' ‡' if part.floored else ''}"


def counterpart_table(out: Path) -> Table:
    """The published tables and figures, with our files under `out`."""
    rows = []
    for row in pd.read_csv(COUNTERPARTS, dtype=str, keep_default_na=False).to_dict("records"):
        paths = [path for pattern in row["files"].split() for path in out.glob(pattern)]
        files = ", ".join(sorted({path.relative_to(out).as_posix() for path in paths}))
        missing = "none yet" if row["files"] else "-"
        rows.append([row["published"], row["numbers"], row["made_by"], files or missing])
    return Table(
        name="counterparts",
        title="Published tables and figures, and their counterparts here",
        header=["published", "its numbers, results/published", "made here by", "files here"],
        groups=group_rows(rows, 0),
        notes=[
            "Tables exist as .md, .tex and, unrounded, .csv; figures as .png and .svg. Experiments: python run.py -m "
            "experiment=NAME.",
            "none yet: these records have no runs for it. -: settings, without a table or figure.",
        ],
    )


def baselines_table(records: Records) -> Table:
    """The cells that two experiments or more share, one row each; in bold, those with fewer seeds than wanted.

    Within each scale, the cells of most experiments come first.
    """
    experiments: dict[str, set[str]] = {}
    for plan in records.experiments:
        for run_id in plan.runs:
            experiments.setdefault(run_id, set()).add(plan.name)
    place = attrgetter("scale", "family", "regime", "reward", "verifier", "judge")
    cells = group_by(
        map(pool_builds, records.runs), lambda run: (place(run), frozenset(result_settings(run).items()))
    )
    found = [
        (runs, set().union(*(experiments.get(run.run_id, ()) for run in runs))) for runs in cells.values()
    ]
    shared = [
        (runs[0], len({run.seed % OFFSET for run in runs}), names) for runs, names in found if len(names) > 1
    ]
    shared.sort(key=lambda one: (order_key(one[0].scale, SCALES), -len(one[2])))
    return build_table(
        name="baselines",
        title="Cells that several experiments share",
        columns=[
            Column("scale", lambda one: one[0].scale),
            Column("cell", lambda one: generator_name(one[0].family, one[0].regime)),
            Column("trained with", lambda one: trained_with(one[0])),
            Column("experiments", lambda one: str(len(one[2]))),
            Column("which", lambda one: ", ".join(sorted(one[2]))),
            Column("seeds", lambda one: Entry(str(one[1]), bold=one[1] < WANTED_SEEDS)),
        ],
        groups=[shared],
        notes=[
            f"The error of a shared cell is in all findings about it. Bold: fewer than {WANTED_SEEDS} seeds."
        ],
    )


def trained_with(run: RunRecord) -> str:
    """The reward and the verifier of a run."""
    detail = " (dense)" if result_settings(run).get("reward.granularity") == "token" else ""
    return f"{reward_name(run)}{detail}, verifier {verifier_name(run.verifier)}"


def capitalise(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[0].upper() + text[1:]


def untitled(table: Table) -> str:
    """A table in markdown without its title."""
    return to_markdown(table).split("\n", 2)[2].strip()

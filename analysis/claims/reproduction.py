"""`reproduction.md`: the paper's claims one by one, and the list of its tables and figures with ours."""

from collections.abc import Sequence
from math import isnan
from operator import attrgetter
from pathlib import Path

import pandas as pd

from analysis.claims.claim import Claim, ClaimVerdict, claim_numbers, claim_verdicts
from analysis.claims.claim_list import all_claims
from analysis.claims.rules import Result
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
    rows = []
    for part, side in zip(result.parts, result.sides, strict=True):
        counts = [str(part.prompts or "-"), str(part.seeds)]
        says = f"{side}: {part.insensitive}" if part.insensitive else side
        mark = " ‡" if part.floored else ""
        rows.append([part.name, rule.format(part), part.scope, *counts, f"{says}{mark}"])
    header = ["comparison", "ours", "interval over", "prompts", "seeds", "says"]
    table = Table("", "", header, group_rows(rows, 0), [])
    floored = f"\n\n- ‡ {FLOORED}" if any(part.floored for part in result.parts) else ""
    return f"{text}\n\n{untitled(table)}{floored}"


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


def shared_cells(records: Records) -> list[tuple[list[RunRecord], list[str]]]:
    """The runs of each cell that two experiments or more have, with the names of these.

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
        (runs, sorted(set().union(*(experiments.get(run.run_id, set()) for run in runs))))
        for runs in cells.values()
    ]
    shared = [(runs, names) for runs, names in found if len(names) > 1]
    return sorted(shared, key=lambda one: (order_key(one[0][0].scale, SCALES), -len(one[1])))


def baselines_table(records: Records) -> Table:
    """The cells that several experiments share, one row each; in bold, those with fewer seeds than wanted."""
    rows: list[list[str | Entry]] = []
    for runs, names in shared_cells(records):
        run, seeds = runs[0], len({run.seed % OFFSET for run in runs})  # the seeds of each build
        detail = " (dense)" if result_settings(run).get("reward.granularity") == "token" else ""
        trained_with = f"{reward_name(run)}{detail}, verifier {verifier_name(run.verifier)}"
        place = [run.scale, generator_name(run.family, run.regime)]
        shown = Entry(str(seeds), bold=seeds < WANTED_SEEDS)
        rows.append([*place, trained_with, str(len(names)), ", ".join(names), shown])
    return Table(
        name="baselines",
        title="Cells that several experiments share",
        header=["scale", "cell", "trained with", "experiments", "which", "seeds"],
        groups=group_rows(rows, 0),
        notes=[
            f"The error of a shared cell is in all findings about it. Bold: fewer than {WANTED_SEEDS} seeds."
        ],
    )


def capitalise(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[0].upper() + text[1:]


def untitled(table: Table) -> str:
    """A table in markdown without its title."""
    return to_markdown(table).split("\n", 2)[2].strip()

"""The tables of one scale and judge, from its cells. No table holds two scales."""

from collections.abc import Callable, Sequence
from math import isnan

from analysis.cells import Cell, cells_of
from analysis.methods import REGIMES, REWARDS, in_order, position
from analysis.metrics import MIN_PROMPTS, interval_covers_half
from analysis.render import Entry, Table, slug
from cme.records import RunRecord

NOT_RUN = Entry("-")
EVIDENCE = (
    *("family", "regime", "reward", "verifier", "prompts", "verdicts", "unscored", "worst cases"),
    *("seeds", "seed mean", "seed range", "seed std", "first won"),
)


def summarize(records: Sequence[RunRecord]) -> str:
    """One line a cell, for a terminal."""
    return "\n".join(summary_line(cell) for cell in cells_of(records))


def summary_line(cell: Cell) -> str:
    """A cell's scale, win rate with interval, counts, and quality where the judge has scores."""
    win = cell.win
    line = (
        f"{cell.scale}: {cell.family} {cell.regime} {cell.method}: "
        f"win rate {number(win.rate)} % {interval(win.lo, win.hi)} against its {names(cell.scale)[0]} "
        f"({win.prompts} prompts, {win.verdicts} verdicts, {win.unscored} unscored)"
    )
    if cell.quality is not None:
        line += f"; {score_name(cell.judge)} {cell.quality.start:.2f} -> {cell.quality.policy:.2f}"
    return "; ".join([line, *cell.stopped])


def tables_of(cells: Sequence[Cell]) -> list[Table]:
    """Every table of one scale and one judge; the table of evidence, the longest, comes last."""
    judgements = {(cell.scale, cell.judge) for cell in cells}
    if len(judgements) != 1:
        raise ValueError(f"a table has one scale and one judge; these cells have {sorted(judgements)}")
    scored = any(cell.quality is not None for cell in cells)
    return [win_rate_table(cells), *([quality_table(cells)] if scored else []), evidence_table(cells)]


def win_rate_table(cells: Sequence[Cell]) -> Table:
    """Win rates with intervals: family x reward in rows, regimes in columns."""
    notes = [
        f"Comparisons won, a tie counting half, judged by {cells[0].judge}; all seeds pooled.",
        "In brackets: 95 % interval, bootstrapped by prompt.",
        "Bold: the interval excludes 50 %.",
    ]
    if any(isnan(cell.win.lo) for cell in cells):
        notes.append(f"[n/a]: fewer than {MIN_PROMPTS} scored prompts, too few for an interval.")
    unscored = sum(cell.win.unscored for cell in cells)
    if unscored:
        notes.append(f"{unscored} verdicts are unscored and left out; the evidence table has bounds.")
    title = f"Win rate against the {names(cells[0].scale)[0]} (%)"
    return grid("win-rate", title, cells, win_rate_entry, notes)


def quality_table(cells: Sequence[Cell]) -> Table:
    """Mean score of the start's and the policy's responses, with the interval of the difference."""
    start, policy = names(cells[0].scale)
    notes = [
        f"Mean score given by {cells[0].judge}, in its own unit: {start} → {policy}.",
        "In parentheses: the paired difference with its 95 % interval, bootstrapped by prompt.",
        "Bold: the interval of the difference excludes 0.",
    ]
    when = "of start and policy" if policy == "policy" else "before and after training"
    title = f"{score_name(cells[0].judge).capitalize()} {when}"
    return grid("quality", title, cells, quality_entry, notes)


def score_name(judge: str) -> str:
    """What a judge's score measures: only the oracle's is quality."""
    return "quality" if judge == "oracle" else judge.replace("_", " ")


def names(scale: str) -> tuple[str, str]:
    """What the two sides of a comparison are called; how imported outputs came about nobody knows here."""
    return ("start", "policy") if scale == "imported" else ("untrained start", "trained")


def grid(
    name: str, title: str, cells: Sequence[Cell], entry: Callable[[Cell], Entry], notes: Sequence[str]
) -> Table:
    """A table with family x method in rows and regimes in columns, stopped runs marked and explained."""
    regimes = in_order((cell.regime for cell in cells), REGIMES)
    by_place = {(cell.family, cell.method, cell.regime): cell for cell in cells}
    groups = []
    for family in dict.fromkeys(cell.family for cell in cells):
        rows: list[list[Entry]] = []
        own = sorted((cell for cell in cells if cell.family == family), key=method_key)
        for method in dict.fromkeys(cell.method for cell in own):
            places = [by_place.get((family, method, regime)) for regime in regimes]
            entries = [NOT_RUN if cell is None else marked(entry(cell), cell) for cell in places]
            rows.append([Entry("" if rows else family), Entry(method), *entries])
        groups.append(rows)
    return Table(
        name=label(name, cells[0]),
        title=f"{title}, scale: {cells[0].scale}, judge: {cells[0].judge}",
        header=["family", "reward", *regimes],
        groups=groups,
        notes=[*notes, *stop_notes(cells)],
    )


def evidence_table(cells: Sequence[Cell]) -> Table:
    """What each win rate rests on: counts, worst cases, and the seeds apart."""
    groups = []
    for family in dict.fromkeys(cell.family for cell in cells):
        rows: list[list[Entry]] = []
        for cell in (cell for cell in cells if cell.family == family):
            first = Entry("" if rows else family)
            rows.append([first, *map(Entry, (cell.regime, cell.method, cell.verifier)), *evidence(cell)])
        groups.append(rows)
    return Table(
        name=label("evidence", cells[0]),
        title=f"Evidence behind the win rates, scale: {cells[0].scale}, judge: {cells[0].judge}",
        header=EVIDENCE,
        groups=groups,
        notes=[
            "All but counts in percent. Worst cases: the win rate were all unscored lost, or all won.",
            "Seed mean, range, std: of each seed's own win rate, so how training varies from run to run.",
            "First won: decided verdicts that went to the response shown first; 50 is blind to order.",
            *stop_notes(cells),
        ],
    )


def evidence(cell: Cell) -> list[Entry]:
    """The numbers of one row of the evidence table."""
    win, seeds = cell.win, cell.seeds
    texts = [
        str(win.prompts),
        str(win.verdicts),
        str(win.unscored),
        f"{number(win.worst_lo)}, {number(win.worst_hi)}" if win.unscored else "-",
        str(len(seeds.rates)),
        number(seeds.mean),
        f"{number(seeds.low)} to {number(seeds.high)}" if len(seeds.rates) > 1 else "-",
        number(seeds.std),
        number(cell.first_shown),
    ]
    return [Entry(text) for text in texts]


def win_rate_entry(cell: Cell) -> Entry:
    """A win rate with its interval, such as 58.3 [52.1, 64.5]."""
    win = cell.win
    return Entry(f"{number(win.rate)} {interval(win.lo, win.hi)}", bold=not interval_covers_half(win))


def quality_entry(cell: Cell) -> Entry:
    """Quality before and after with the difference, such as 0.15 → 0.61 (+0.46 [0.40, 0.52])."""
    quality = cell.quality
    if quality is None:
        return NOT_RUN
    change = f"{quality.difference:+.2f} {interval(quality.lo, quality.hi, 2)}"
    return Entry(
        f"{quality.start:.2f} → {quality.policy:.2f} ({change})", bold=quality.lo > 0 or quality.hi < 0
    )


def marked(entry: Entry, cell: Cell) -> Entry:
    """The entry, with a dagger where a run of the cell stopped early."""
    return Entry(f"{entry.text} †", entry.bold) if cell.stopped else entry


def stop_notes(cells: Sequence[Cell]) -> list[str]:
    """The footnote of the dagger; one line a cell."""
    return [
        f"† {cell.family} {cell.regime} {cell.method}: {'; '.join(cell.stopped)}. Judged as it was then."
        for cell in cells
        if cell.stopped
    ]


def method_key(cell: Cell) -> tuple[tuple[int, str], str]:
    """Sort key of methods: by reward, then by name."""
    return position(cell.reward, REWARDS), cell.method


def label(name: str, cell: Cell) -> str:
    """Name of a table, unique among scales and judges."""
    return f"{name}-{slug(cell.scale)}-{slug(cell.judge)}"


def number(value: float) -> str:
    """A percentage to one decimal, or n/a."""
    return "n/a" if isnan(value) else f"{value:.1f}"


def interval(lo: float, hi: float, decimals: int = 1) -> str:
    """An interval in brackets, or [n/a]."""
    return "[n/a]" if isnan(lo) else f"[{lo:.{decimals}f}, {hi:.{decimals}f}]"

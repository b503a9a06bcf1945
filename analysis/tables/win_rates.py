"""The tables of one scale and judge, from its cells. No table holds two scales."""

from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

from analysis.records.names import REGIMES, REWARDS, natural_key, order_key, sort_names
from analysis.stats.contrasts import Contrast
from analysis.stats.metrics import FEW_PROMPTS, MIN_SEEDS, interval_excludes, is_undecided
from analysis.tables.cells import Cell, build_cells, build_contrasts
from analysis.tables.render import Entry, Table, slug
from cme.records import RunRecord

NOT_RUN = Entry("-")
FEW = "°"
OPEN = "?"
NEVER_BOLD = f"never over fewer than {FEW_PROMPTS}"  # what no table has in bold
EVIDENCE = (
    *("family", "regime", "reward", "verifier", "prompts", "verdicts", "unscored", "worst cases"),
    *("p (Holm)", "detectable", "consistent", "first won"),
)
SEEDS = ("family", "regime", "reward", "seeds", "mean, any seed", "range", "std", "IQM, any seed")
CONTRASTS = (
    *("family", "regime", "reward", "against", "prompts", "difference", "any seed", "p (Holm)"),
    "improvement (%)",
)
AGREEMENT = ("family", "regime", "reward", "judges", "items", "left out", "alike (%)", "kappa")


def summarize(records: Sequence[RunRecord]) -> str:
    """One line a cell, for a terminal."""
    return "\n".join(summary_line(cell) for cell in build_cells(records))


def summary_line(cell: Cell) -> str:
    """A cell's scale, win rate with interval, counts, and quality where the judge has scores."""
    win = cell.win
    line = (
        f"{cell.scale}: {cell.family} {cell.regime} {cell.method}: "
        f"win rate {format_percent(win.rate)} % {format_interval(win.lo, win.hi)} against its "
        f"{side_names(cell.scale)[0]} "
        f"({win.prompts} prompts, {win.verdicts} verdicts, {win.unscored} unscored)"
    )
    if win.half_scored:
        line += f"; {win.half_scored} scored in one order only and left out"
    if not cell.both_orders:
        line += "; each pair judged in one order only"
    if win.few:
        line += "; few prompts: the interval means little"
    if win.open:
        line += f"; with the unscored it could be {format_percent(win.worst_lo)} to {format_percent(win.worst_hi)} %"
    if cell.quality is not None:
        line += f"; {score_name(cell.judge)} {cell.quality.start:.2f} -> {cell.quality.policy:.2f}"
    return "; ".join([line, *cell.stopped])


def win_rate_tables(cells: Sequence[Cell]) -> list[Table]:
    """Every table of one scale and one judge; the table of evidence, the longest, comes last."""
    judgements = {(cell.scale, cell.judge) for cell in cells}
    if len(judgements) != 1:
        raise ValueError(f"a table has one scale and one judge; these cells have {sorted(judgements)}")
    scored = any(cell.quality is not None for cell in cells)
    contrasts = build_contrasts(cells)
    return [
        win_rate_table(cells),
        *([quality_table(cells)] if scored else []),
        *([contrast_table(contrasts)] if contrasts else []),
        *([agreement_table(cells)] if any(cell.agreement for cell in cells) else []),
        seed_table(cells),
        evidence_table(cells),
    ]


def win_rate_table(cells: Sequence[Cell]) -> Table:
    """Win rates with intervals: family x reward in rows, regimes in columns."""
    notes = [
        f"Comparisons won, a tie counting half, judged by {cells[0].judge}; all seeds pooled.",
        "In brackets: 95 % interval over prompts, for these models (cluster-robust Wilson).",
        "Bold: the interval excludes 50 %, each taken alone; the evidence table corrects over all.",
    ]
    if any(cell.win.few for cell in cells):
        notes.append(
            f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval means little and is never bold."
        )
    notes += left_out_notes(cells)
    title = f"Win rate against the {side_names(cells[0].scale)[0]} (%)"
    return grid_table("win-rate", title, cells, win_rate_entry, notes)


def left_out_notes(cells: Sequence[Cell]) -> list[str]:
    """What the win rates leave out, what that leaves open, and which rates rest on one order."""
    unscored, half = (sum(getattr(cell.win, name) for cell in cells) for name in ("unscored", "half_scored"))
    notes = (
        [f"{unscored} verdicts are unscored and left out; the evidence table has bounds."] if unscored else []
    )
    if half:
        notes.append(
            f"{half} verdicts are left out because their pair is unscored in the other order: a pair judged in one "
            "order alone would count the judge's taste for a place as a win."
        )
    if any(cell.win.open for cell in cells):
        notes.append(f"{OPEN}: the unscored verdicts could bring the rate to 50 % or past it; never bold.")
    if not all(cell.both_orders for cell in cells):
        share = "All" if not any(cell.both_orders for cell in cells) else "Some"
        notes.append(
            f"{share} pairs were judged in one order only: a judge's taste for a place evens out over pairs, as far as "
            "the order was drawn at random, and not within each pair."
        )
    return notes


def quality_table(cells: Sequence[Cell]) -> Table:
    """Mean score of the start's and the policy's responses, with the interval of the difference."""
    start, policy = side_names(cells[0].scale)
    notes = [
        f"Mean score given by {cells[0].judge}, in its own unit: {start} → {policy}.",
        "In parentheses: the paired difference with its 95 % interval over prompts.",
        f"Bold: the interval of the difference excludes 0, {NEVER_BOLD} prompts.",
    ]
    when = "of start and policy" if policy == "policy" else "before and after training"
    title = f"{score_name(cells[0].judge).capitalize()} {when}"
    return grid_table("quality", title, cells, quality_entry, notes)


def score_name(judge: str) -> str:
    """What a judge's score measures: only the oracle's is quality."""
    member = judge.split(": ")[-1]
    return "quality" if member == "oracle" else member.replace("_", " ")


def side_names(scale: str) -> tuple[str, str]:
    """What the two sides of a comparison are called; how imported outputs came about nobody knows here."""
    return ("start", "policy") if scale == "imported" else ("untrained start", "trained")


def grid_table(
    name: str, title: str, cells: Sequence[Cell], entry: Callable[[Cell], Entry], notes: Sequence[str]
) -> Table:
    """A table with family x method in rows and regimes in columns, stopped runs marked and explained."""
    regimes = sort_names((cell.regime for cell in cells), REGIMES)
    by_place = {(cell.family, cell.method, cell.regime): cell for cell in cells}
    groups = []
    for family in dict.fromkeys(cell.family for cell in cells):
        rows: list[list[Entry]] = []
        own = sorted((cell for cell in cells if cell.family == family), key=method_key)
        for method in dict.fromkeys(cell.method for cell in own):
            places = [by_place.get((family, method, regime)) for regime in regimes]
            entries = [NOT_RUN if cell is None else mark_stopped(entry(cell), cell) for cell in places]
            rows.append([Entry("" if rows else family), Entry(method), *entries])
        groups.append(rows)
    return Table(
        name=table_name(name, cells[0]),
        title=f"{title}, scale: {cells[0].scale}, judge: {cells[0].judge}",
        header=["family", "reward", *regimes],
        groups=groups,
        notes=[*notes, *stop_notes(cells)],
    )


def list_table(
    name: str,
    title: str,
    header: Sequence[str],
    cells: Sequence[Cell],
    entries: Callable[[Cell], Sequence[str]],
    notes: Sequence[str],
) -> Table:
    """A table with one row a cell: family, regime and method, then the entries; a block a family."""
    groups = []
    for family in dict.fromkeys(cell.family for cell in cells):
        rows: list[list[Entry]] = []
        own = (cell for cell in cells if cell.family == family)
        for cell in sorted(own, key=lambda cell: (order_key(cell.regime, REGIMES), method_key(cell))):
            place = ("" if rows else family, cell.regime, cell.method)
            rows.append([*map(Entry, place), *map(Entry, entries(cell))])
        groups.append(rows)
    title = f"{title}, scale: {cells[0].scale}, judge: {cells[0].judge}"
    return Table(table_name(name, cells[0]), title, header, groups, notes)


def evidence_table(cells: Sequence[Cell]) -> Table:
    """What each win rate rests on: counts, worst cases, the test, its power, and the judge's taste for places."""
    notes = [
        "All but counts and p in percent. Worst cases: the win rate were all unscored lost, or all won. "
        "+: scored verdicts left out, their pair being unscored in the other order.",
        "p (Holm): test of a true rate of 50 %, corrected over this table.",
        "Detectable: the distance from 50 that so many prompts find with 80 % power at 5 %, uncorrected.",
        "Consistent: pairs judged in both orders with one verdict. "
        "First won: decided verdicts that went to the response shown first; 50 is blind to order.",
        *stop_notes(cells),
    ]
    return list_table("evidence", "Evidence behind the win rates", EVIDENCE, cells, evidence, notes)


def evidence(cell: Cell) -> list[str]:
    """The numbers of one row of the evidence table."""
    win = cell.win
    return [
        cell.verifier,
        str(win.prompts),
        str(win.verdicts),
        f"{win.unscored} + {win.half_scored}" if win.half_scored else str(win.unscored),
        f"{format_percent(win.worst_lo)}, {format_percent(win.worst_hi)}" if win.unscored else "-",
        format_p_value(cell.p_holm),
        format_percent(win.detectable),
        format_percent(cell.consistent),
        format_percent(cell.first_shown),
    ]


def seed_table(cells: Sequence[Cell]) -> Table:
    """The win rates of single seeds: how training varies from run to run."""
    notes = [
        "Of each seed's own win rate, in percent: mean, range, standard deviation, interquartile mean (IQM).",
        "Any seed: the intervals are about other seeds and other prompts both, those of the win rates about "
        f"other prompts alone; [n/a] below {MIN_SEEDS} seeds.",
    ]
    return list_table("seeds", "Win rates of single seeds", SEEDS, cells, seed_texts, notes)


def seed_texts(cell: Cell) -> list[str]:
    """The numbers of one row of the table of seeds."""
    seeds = cell.seeds
    return [
        str(len(seeds.rates)),
        f"{format_percent(seeds.mean)} {format_interval(seeds.wide_lo, seeds.wide_hi)}",
        f"{format_percent(seeds.low)} to {format_percent(seeds.high)}" if len(seeds.rates) > 1 else "-",
        format_percent(seeds.std),
        f"{format_percent(seeds.iqm)} {format_interval(seeds.iqm_lo, seeds.iqm_hi)}",
    ]


def contrast_table(contrasts: Sequence[tuple[Cell, Cell, Contrast, float]]) -> Table:
    """Each reward against CME on the same prompts."""
    rows = {id(cell): (against, of, p) for cell, against, of, p in contrasts}

    def texts(cell: Cell) -> list[str]:
        against, of, p = rows[id(cell)]
        return [
            against.method,
            str(of.prompts),
            f"{of.difference:+.1f} {format_interval(of.lo, of.hi)}",
            format_interval(of.wide_lo, of.wide_hi),
            format_p_value(p),
            f"{format_percent(of.improvement)} {format_interval(of.improvement_lo, of.improvement_hi)}",
        ]

    notes = [
        "Difference: win rate less that of the other, in percentage points, on the prompts both have scored, with "
        "the paired 95 % interval over prompts. Any seed: its interval for other seeds too, "
        f"[n/a] below {MIN_SEEDS}.",
        "p (Holm): test of no difference over prompts, corrected over this table.",
        "Improvement: the chance that on a random prompt a random seed gets more points than one of the other, "
        "equal points counting half.",
    ]
    cells = [cell for cell, *_ in contrasts]
    return list_table("contrast", "Rewards against CME", CONTRASTS, cells, texts, notes)


def agreement_table(cells: Sequence[Cell]) -> Table:
    """How far the judges of a panel agree."""
    held = {id(cell): cell.agreement for cell in cells if cell.agreement is not None}

    def texts(cell: Cell) -> list[str]:
        of = held[id(cell)]
        kappa = "n/a" if isnan(of.kappa) else f"{of.kappa:.2f}"
        return [
            ", ".join(of.judges),
            str(of.items),
            str(of.left_out),
            format_percent(of.alike),
            f"{kappa} {format_interval(of.lo, of.hi, 2)}",
        ]

    notes = [
        "Items: one pair in one order, with a win, a tie or a loss of the policy from every judge. "
        "Left out: items that a judge could not score.",
        "Alike: pairs of judges with one outcome. Kappa: Cohen's for two judges, Fleiss' for more, with its "
        "95 % interval, bootstrapped by prompt; 1 is full agreement, 0 what chance gives.",
        "The majority: a win or a loss that more than half of the votes give, or else a tie; unscored without "
        "votes from more than half of the judges.",
    ]
    whole = [cell for cell in cells if id(cell) in held]
    return list_table("agreement", "Agreement of the judges", AGREEMENT, whole, texts, notes)


def win_rate_entry(cell: Cell) -> Entry:
    """A win rate with its interval, such as 58.3 [52.1, 64.5]."""
    win = cell.win
    few = f" {FEW}" if win.few else ""
    unsure = f" {OPEN}" if win.open else ""
    text = f"{format_percent(win.rate)} {format_interval(win.lo, win.hi)}{few}{unsure}"
    return Entry(text, bold=not is_undecided(win))


def quality_entry(cell: Cell) -> Entry:
    """Quality before and after with the difference, such as 0.15 → 0.61 (+0.46 [0.40, 0.52])."""
    quality = cell.quality
    if quality is None:
        return NOT_RUN
    change = f"{quality.difference:+.2f} {format_interval(quality.lo, quality.hi, 2)}"
    bold = interval_excludes(quality.lo, quality.hi, 0, quality.prompts)
    return Entry(f"{quality.start:.2f} → {quality.policy:.2f} ({change})", bold)


def mark_stopped(entry: Entry, cell: Cell) -> Entry:
    """The entry, with a dagger where a run of the cell stopped early."""
    return Entry(f"{entry.text} †", entry.bold) if cell.stopped else entry


def stop_notes(cells: Sequence[Cell]) -> list[str]:
    """The footnote of the dagger; one line a cell."""
    return [
        f"† {cell.family} {cell.regime} {cell.method}: {'; '.join(cell.stopped)}. Judged as it was then."
        for cell in cells
        if cell.stopped
    ]


def method_key(cell: Cell) -> tuple[Any, ...]:
    """Sort key of methods: by reward, then by name."""
    return order_key(cell.reward, REWARDS), natural_key(cell.method)


def table_name(name: str, cell: Cell) -> str:
    """Name of a table, unique among scales and judges."""
    return f"{name}-{slug(cell.scale)}-{slug(cell.judge)}"


def format_percent(value: float) -> str:
    """A percentage to one decimal, or n/a."""
    return "n/a" if isnan(value) else f"{value:.1f}"


def format_p_value(p: float) -> str:
    """A p-value to three decimals, or n/a."""
    return "n/a" if isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(lo: float, hi: float, decimals: int = 1) -> str:
    """An interval in brackets, or [n/a]."""
    return "[n/a]" if isnan(lo) else f"[{lo:.{decimals}f}, {hi:.{decimals}f}]"

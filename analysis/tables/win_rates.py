"""Tables of win rates of one scale and judge."""

from collections.abc import Callable, Sequence
from math import isnan

from analysis.records.names import judge_label, verifier_of
from analysis.stats.contrasts import Contrast
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.cell_tables import (
    FEW_NOTE,
    NEVER_BOLD,
    OPEN_NOTE,
    ceiling_entry,
    grid_table,
    list_table,
    quality_entry,
    rate_entry,
    seed_range,
    stop_notes,
    win_rate_entry,
)
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.controls import Controls
from analysis.tables.judging.agreement import KAPPA_NOTE, agreement_columns
from analysis.tables.judging.judges import format_left_out
from analysis.tables.render import (
    Entry,
    Table,
    format_estimate,
    format_interval,
    format_p_value,
    format_percent,
)

CUT_NOTE = (
    "Cut start: the untrained model's own responses, cut at their first sentence end or, without an oracle, to the "
    "policy's length, against the uncut ones. A method that wins no more has shown only that it ends earlier."
)
FEW_CUT = 0.05
"""Below this share of changed responses, the cut start is hardly a control."""
CEILING_NOTE = "Perfect policy: the ceiling, which responses of quality 1 to the same prompts would win."


def win_rate_tables(cells: Sequence[Cell]) -> list[Table]:
    """All tables of the cells of one scale and one judge; the longest, the evidence, comes last."""
    contrasts = build_contrasts(cells)
    return [
        win_rate_table(cells),
        *cut_start_tables(cells),
        *([quality_table(cells)] if any(cell.quality for cell in cells) else []),
        *([contrast_table(contrasts)] if contrasts else []),
        *([panel_table(cells)] if any(cell.agreement for cell in cells) else []),
        *([] if cells[0].scale == "imported" else [seed_table(cells)]),
        evidence_table(cells),
    ]


def win_rate_table(cells: Sequence[Cell]) -> Table:
    """Win rates with intervals: family x reward in rows, regimes in columns."""
    notes = [
        f"Comparisons won, a tie counting half, judged by {judge_label(cells[0].judge)}; all seeds pooled.",
        "In brackets: 95 % CI over prompts for these models (cluster-robust Wilson).",
        "Bold: the interval excludes 50 %, without correction for the number of cells; the evidence table corrects.",
    ]
    notes += [*([FEW_NOTE] if any(cell.win.few for cell in cells) else []), *left_out_notes(cells)]
    title = f"Win rate against the {side_names(cells)[0]} (%)"
    rows: dict[str, Callable[[Controls], Entry]] = {}
    if any(cell.controls.cut_start for cell in cells):
        rows["Cut start"] = lambda controls: rate_entry(controls.cut_start)
        notes.append(f"{CUT_NOTE} {cut_share(cells)}")
    if not all(isnan(cell.controls.ceiling) for cell in cells):
        rows["Perfect policy"] = ceiling_entry
        notes.append(CEILING_NOTE)
    return grid_table("win-rate", title, cells, win_rate_entry, notes, rows)


def cut_start_tables(cells: Sequence[Cell]) -> list[Table]:
    """The win rates against the cut start; no table without them."""
    if not any(cell.controls.against_cut_start for cell in cells):
        return []
    notes = [
        f"Comparisons with the cut start won, a tie counting half, judged by {judge_label(cells[0].judge)}; all seeds "
        "pooled. In brackets: 95 % CI over prompts for these models. Bold: it excludes 50 %.",
        "Cut start: the untrained model's own responses, cut at their first sentence end or, without an oracle, to the "
        f"policy's length. Above 50 %, a method gains more than by ending earlier. {cut_share(cells)}",
    ]
    title = "Win rate against the cut start (%)"
    return [
        grid_table("cut-start", title, cells, lambda cell: rate_entry(cell.controls.against_cut_start), notes)
    ]


def cut_share(cells: Sequence[Cell]) -> str:
    """A sentence on how many responses the cut changes: where it changes hardly any, this control can hardly fail."""
    changed, tried = (sum(column) for column in zip(*(c.controls.changed_by_cut for c in cells), strict=True))
    share = f"The cut changes {100 * changed / tried:.1f} % of the responses"
    return f"{share}." if changed > FEW_CUT * tried else f"{share}, so it can hardly differ from the start."


def left_out_notes(cells: Sequence[Cell]) -> list[str]:
    """Notes on verdicts that are left out, on rates that these could change, and on single orders."""
    unscored = sum(cell.win.unscored for cell in cells)
    half = sum(cell.win.half_scored for cell in cells)
    notes = []
    if unscored:
        notes.append(f"{unscored} verdicts are unscored and left out; the evidence table has bounds.")
    if half:
        notes.append(
            f"{half} verdicts are left out because their pair is unscored in the other order: counting a pair in one "
            "order alone would count the judge's position bias as a win."
        )
    if any(cell.win.open for cell in cells):
        notes.append(OPEN_NOTE)
    if not all(cell.both_orders for cell in cells):
        share = "Some" if any(cell.both_orders for cell in cells) else "All"
        notes.append(
            f"{share} pairs were judged in one order only: the judge's position bias evens out over pairs if the order "
            "was random, but not within a pair."
        )
    return notes


def quality_table(cells: Sequence[Cell]) -> Table:
    """Mean score of the start's and the policy's responses, with the interval of the difference."""
    start, policy = side_names(cells)
    notes = [
        f"Mean score by {judge_label(cells[0].judge)}, in its own unit: {start} → {policy}.",
        "In parentheses: the paired difference with its 95 % CI over prompts.",
        f"Bold: the interval of the difference excludes 0, {NEVER_BOLD} prompts.",
    ]
    when = "of both sides" if cells[0].scale == "imported" else "before and after training"
    score = score_name(cells[0].judge)
    title = f"{score[0].upper()}{score[1:]} {when}"
    return grid_table("quality", title, cells, quality_entry, notes)


def evidence_table(cells: Sequence[Cell]) -> Table:
    """Counts, worst cases, the test and its power behind each win rate, and the judge's position bias."""
    imported = cells[0].scale == "imported"

    def columns(cell: Cell) -> dict[str, str]:
        win = cell.win
        return {
            **({} if imported else {"verifier": verifier_of(cell.controls.runs[0])}),
            "prompts": str(win.prompts),
            "verdicts": str(win.verdicts),
            **({"won, tied, lost": ", ".join(map(str, cell.outcomes))} if imported else {}),
            "unscored": format_left_out(win.unscored, win.half_scored),
            "worst cases": f"{win.worst_lo:.1f}, {win.worst_hi:.1f}" if win.unscored else "-",
            "p (Holm)": format_p_value(cell.p_holm),
            "detectable": format_percent(win.detectable),
            "consistent": format_percent(cell.consistent),
            "first won": format_percent(cell.first_shown),
        }

    notes = [
        "All but counts and p in percent. Worst cases: the win rate if all unscored verdicts were lost, or won. "
        "After the +: scored verdicts left out because their pair is unscored in the other order.",
        "p (Holm): test of a true rate of 50 % over prompts, for these models, corrected over this table.",
        "Detectable: the distance from 50 % that so many prompts detect with 80 % power at 5 %, uncorrected.",
        "Consistent: pairs judged in both orders with the same verdict. "
        "First won: decided verdicts for the response shown first; 50 without position bias.",
        *stop_notes(cells),
    ]
    return list_table("evidence", "Evidence behind the win rates", cells, columns, notes)


def seed_table(cells: Sequence[Cell]) -> Table:
    """The win rates of single seeds: the variation of training from run to run."""

    def columns(cell: Cell) -> dict[str, str]:
        seeds = cell.seeds
        return {
            "seeds": str(len(seeds.rates)),
            "mean, across seeds": format_estimate(seeds.mean, seeds.across_seeds_lo, seeds.across_seeds_hi),
            "range": seed_range(seeds),
            "std": format_percent(seeds.std),
            "IQM, across seeds": format_estimate(seeds.iqm, seeds.iqm_lo, seeds.iqm_hi),
        }

    notes = [
        "Of the win rates of single seeds, in percent: mean, range, standard deviation, interquartile mean (IQM).",
        "Across seeds: the 95 % CI is over seeds and prompts together, that of the win rates over prompts alone; "
        f"[n/a] below {MIN_SEEDS} seeds.",
    ]
    return list_table("seeds", "Win rates of single seeds", cells, columns, notes)


def contrast_table(contrasts: Sequence[tuple[Cell, Cell, Contrast, float]]) -> Table:
    """Each reward compared with CME on the same prompts."""
    by_cell = {id(cell): (against, change, p) for cell, against, change, p in contrasts}

    def columns(cell: Cell) -> dict[str, str]:
        against, change, p = by_cell[id(cell)]
        return {
            "compared with": against.method,
            "prompts": str(change.prompts),
            "difference": f"{change.difference:+.1f} {format_interval(change.lo, change.hi)}",
            "across seeds": format_interval(change.across_seeds_lo, change.across_seeds_hi),
            "p (Holm)": format_p_value(p),
            "improvement (%)": format_estimate(
                change.improvement, change.improvement_lo, change.improvement_hi
            ),
        }

    notes = [
        "Difference: win rate minus that of the other method, in percentage points, on the prompts and builds of "
        "both, with the paired 95 % CI over prompts. Across seeds: the CI over seeds and prompts together, "
        f"[n/a] below {MIN_SEEDS} seeds.",
        "p (Holm): test of no difference over seeds and prompts together, over prompts alone where the interval across "
        "seeds is [n/a]; corrected over this table.",
        "Improvement: the probability that on a random prompt a random seed gets more points than one of the other "
        "method, equal points counting half.",
    ]
    cells = [cell for cell, *_ in contrasts]
    return list_table("contrast", "Rewards against CME", cells, columns, notes)


def panel_table(cells: Sequence[Cell]) -> Table:
    """Agreement of the judges of a panel."""

    def columns(cell: Cell) -> dict[str, str]:
        assert cell.agreement is not None
        return agreement_columns(cell.agreement)

    notes = [
        "Items: one pair in one order, with a win, a tie or a loss of the policy from every judge. "
        "Left out: items that a judge could not score.",
        KAPPA_NOTE,
        "The majority: a win or a loss that more than half of the votes give, otherwise a tie; unscored without "
        "votes from more than half of the judges.",
    ]
    panels = [cell for cell in cells if cell.agreement is not None]
    return list_table("agreement", "Agreement of the judges", panels, columns, notes)


def score_name(judge: str) -> str:
    """The quantity that a judge's score measures; the judge's name for one whose score has no name of its own."""
    member = judge.split(": ")[-1]
    names = {
        "oracle": "quality",
        "instruction_following": "constraints met",
        "instruction_following_own_words": "constraints met in own words",
    }
    return names.get(member, judge_label(member))


def side_names(cells: Sequence[Cell]) -> tuple[str, str]:
    """Names of the two sides of comparisons of one scale; for imported outputs, their labels."""
    if cells[0].scale != "imported":
        return "untrained model", "trained"
    starts, policies = {cell.regime for cell in cells}, {cell.method for cell in cells}
    return (
        f"outputs of {starts.pop()}" if len(starts) == 1 else "outputs of the other model",
        f"outputs of {policies.pop()}" if len(policies) == 1 else "outputs of the model",
    )

"""All tables of one scale and judge: the win rates, then contrasts with CME, agreement, seeds and the evidence."""

from collections.abc import Sequence

from analysis.records.names import verifier_of
from analysis.stats.contrasts import Contrast
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.agreement import panel_table
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.render import Table, format_interval, format_p_value, format_percent
from analysis.tables.win_rates import cut_start_tables, list_table, quality_table, stop_notes, win_rate_table


def win_rate_tables(cells: Sequence[Cell]) -> list[Table]:
    """All tables of one scale and one judge; the longest, the evidence, comes last."""
    judgements = {(cell.scale, cell.judge) for cell in cells}
    if len(judgements) != 1:
        raise ValueError(f"a table has one scale and one judge; these cells have {sorted(judgements)}")
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


def evidence_table(cells: Sequence[Cell]) -> Table:
    """Counts, worst cases, the test and its power behind each win rate, and the judge's position bias."""
    imported = cells[0].scale == "imported"

    def columns(cell: Cell) -> dict[str, str]:
        win = cell.win
        worst_cases = f"{format_percent(win.worst_lo)}, {format_percent(win.worst_hi)}"
        return {
            **({} if imported else {"verifier": verifier_of(cell.controls.runs[0])}),
            "prompts": str(win.prompts),
            "verdicts": str(win.verdicts),
            **({"won, tied, lost": ", ".join(map(str, cell.outcomes))} if imported else {}),
            "unscored": f"{win.unscored} + {win.half_scored}" if win.half_scored else str(win.unscored),
            "worst cases": worst_cases if win.unscored else "-",
            "p (Holm)": format_p_value(cell.p_holm),
            "detectable": format_percent(win.detectable),
            "consistent": format_percent(cell.consistent),
            "first won": format_percent(cell.first_shown),
        }

    notes = [
        "All but counts and p in percent. Worst cases: the win rate if all unscored verdicts were lost, or won. "
        "After the +: scored verdicts left out because their pair is unscored in the other order.",
        "p (Holm): test of a true rate of 50 %, corrected over this table.",
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
        bounds = f"{format_percent(seeds.low)} to {format_percent(seeds.high)}"
        across_seeds = format_interval(seeds.across_seeds_lo, seeds.across_seeds_hi)
        return {
            "seeds": str(len(seeds.rates)),
            "mean, across seeds": f"{format_percent(seeds.mean)} {across_seeds}",
            "range": bounds if len(seeds.rates) > 1 else "-",
            "std": format_percent(seeds.std),
            "IQM, across seeds": f"{format_percent(seeds.iqm)} {format_interval(seeds.iqm_lo, seeds.iqm_hi)}",
        }

    notes = [
        "Of the win rates of single seeds, in percent: mean, range, standard deviation, interquartile mean (IQM).",
        "Across seeds: the 95 % CI is over seeds and prompts together, that of the win rates over prompts alone; "
        f"[n/a] below {MIN_SEEDS} seeds.",
    ]
    return list_table("seeds", "Win rates of single seeds", cells, columns, notes)


def contrast_table(contrasts: Sequence[tuple[Cell, Cell, Contrast, float]]) -> Table:
    """Each reward compared with CME on the same prompts."""
    by_cell = {id(cell): (against, contrast, p) for cell, against, contrast, p in contrasts}

    def columns(cell: Cell) -> dict[str, str]:
        against, contrast, p = by_cell[id(cell)]
        improvement = format_interval(contrast.improvement_lo, contrast.improvement_hi)
        return {
            "compared with": against.method,
            "prompts": str(contrast.prompts),
            "difference": f"{contrast.difference:+.1f} {format_interval(contrast.lo, contrast.hi)}",
            "across seeds": format_interval(contrast.across_seeds_lo, contrast.across_seeds_hi),
            "p (Holm)": format_p_value(p),
            "improvement (%)": f"{format_percent(contrast.improvement)} {improvement}",
        }

    notes = [
        "Difference: win rate minus that of the other method, in percentage points, on the prompts and builds of "
        "both, with the paired 95 % CI over prompts. Across seeds: the CI over seeds and prompts together, "
        f"[n/a] below {MIN_SEEDS} seeds.",
        "p (Holm): test of no difference over prompts, corrected over this table.",
        "Improvement: the probability that on a random prompt a random seed gets more points than one of the other "
        "method, equal points counting half.",
    ]
    cells = [cell for cell, *_ in contrasts]
    return list_table("contrast", "Rewards against CME", cells, columns, notes)

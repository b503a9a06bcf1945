"""Every reward and trainer on the same cells, controls included, each against CME."""

from collections.abc import Sequence
from pathlib import Path

from analysis.experiments._settings import Compared, interval_plots, written
from analysis.sections.base import Part
from analysis.sections.trajectory import by_seed, collapse_of, trajectory_frame
from analysis.stats.metrics import FEW_PROMPTS, interval_excludes
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import (
    contrast_table,
    evidence_table,
    format_interval,
    format_p_value,
    mark_stopped,
    quality_entry,
    score_name,
    seed_table,
    side_names,
    stop_notes,
    win_rate_entry,
)
from cme.records import RunRecord

TITLE = "All rewards and trainers on the same cells"
INTRO = (
    "Does CME do better than other label-free rewards, than other ways to learn from the verifier, and than controls "
    "that know nothing of the answer? The claim falls where a control, such as a random reward or length alone, does "
    "as well; ground truth and preference pairs, which need labels, show what there was to gain. The paper's "
    "repository has several of these baselines; of their results only those of the verifier sweep are published."
)
SIGNALS = {
    "cme": "verifier",
    "best_of_n_cme": "verifier, nothing trained",
    "reverse_kl": "verifier",
    "sft": "verifier's answers",
    "majority_vote": "own answers",
    "semantic_entropy": "own answers",
    "self_certainty": "own probabilities",
    "token_entropy": "own probabilities",
    "token_entropy_last": "own probabilities",
    "token_entropy_format": "own probabilities",
    "self_likelihood": "control: the start",
    "length": "control",
    "format": "control",
    "random": "control",
    "dpo": "preference pairs",
    "ground_truth": "the truth",
}
"""What a method learns from."""
HEADER = (
    "family",
    "regime",
    "method",
    "learns from",
    "win rate (%)",
    "p (Holm)",
    "against CME",
    "its p (Holm)",
)


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and the figure of one scale."""
    compared = Compared.by(lambda run: run.reward, runs)
    tables = []
    for _, cells in compared.by_judge():
        tables.append(rewards_table(compared, cells))
        if contrasts := build_contrasts(cells):
            tables.append(contrast_table(contrasts))
        tables += [seed_table(cells), evidence_table(cells)]
    return written("rewards", compared, tables, interval_plots(compared, "All rewards and trainers"), out)


def rewards_table(compared: Compared, cells: Sequence[Cell]) -> Table:
    """One judge's cells in the order of the methods: win rate, difference from CME, score, and how they ended."""
    scale, judge = cells[0].scale, cells[0].judge
    against = {id(cell): (of, p) for cell, _, of, p in build_contrasts(cells)}
    scored = any(cell.quality is not None for cell in cells)
    groups: dict[tuple[str, str], list[list[Entry]]] = {}
    for cell in cells:
        rows = groups.setdefault((cell.family, cell.regime), [])
        place = ("", "") if rows else (cell.family, cell.regime)
        difference, p = Entry("-"), "-"
        if id(cell) in against:
            of, corrected = against[id(cell)]
            bold = interval_excludes(of.lo, of.hi, 0, of.prompts)
            difference = Entry(f"{of.difference:+.1f} {format_interval(of.lo, of.hi)}", bold)
            p = format_p_value(corrected)
        rows.append(
            [
                *map(Entry, (*place, cell.method, SIGNALS.get(cell.reward, "-"))),
                mark_stopped(win_rate_entry(cell), cell),
                Entry(format_p_value(cell.p_holm)),
                difference,
                Entry(p),
                *([quality_entry(cell)] if scored else []),
                Entry(ending(compared.of(cell), cell)),
            ]
        )
    return Table(
        name=f"summary-{slug(scale)}-{slug(judge)}",
        title=f"All rewards and trainers, scale: {scale}, judge: {judge}",
        header=[*HEADER, *([f"{score_name(judge)}: start → policy"] if scored else []), "ended"],
        groups=list(groups.values()),
        notes=[
            f"Win rate against the {side_names(scale)[0]}, judged by {judge}, a tie counting half, all seeds "
            f"pooled, with "
            "its 95 % interval over prompts, for these models; the table of seeds has the intervals for other seeds. "
            f"Against CME: difference of the win rates in percentage points, paired by prompt. Bold: the interval "
            f"excludes 50 %, or no difference, on {FEW_PROMPTS} prompts or more, each taken alone.",
            "p (Holm): test of a true rate of 50 %, its p: of no difference from CME; each corrected over this table.",
            "Ended: below its start is a policy that is worse than its start for certain, by the score where the "
            "judge has one, else by win rate; the collapse step, by seed, where checkpoints were saved, is the first "
            "from which on all are worse for certain.",
            *stop_notes(cells),
        ],
    )


def ending(runs: Sequence[RunRecord], cell: Cell) -> str:
    """How a cell's runs ended: below the start, collapsed at which steps, stopped early."""
    found = []
    if fell(cell):
        found.append("below its start")
    if all(run.trajectory is not None for run in runs):
        measure = "win_rate" if cell.quality is None else "quality"
        frame = trajectory_frame(runs)
        steps = [collapse_of(frame[frame["run_id"] == run.run_id], measure) for run in runs]
        if any(isinstance(step, int) for step in steps):
            found.append(f"collapsed at {by_seed(steps).text}")
    if cell.stopped:
        found.append(f"{len(cell.stopped)} of {len(runs)} stopped")
    return "; ".join(found) or "-"


def fell(cell: Cell) -> bool:
    """Whether a policy is worse than its start for certain."""
    if (change := cell.quality) is not None:
        return change.difference < 0 and interval_excludes(change.lo, change.hi, 0, change.prompts)
    win = cell.win
    return win.rate < 50 and interval_excludes(win.lo, win.hi, 50, win.scored)

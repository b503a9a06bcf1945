"""Every reward and trainer on the same cells, controls included, each compared with CME."""

from collections.abc import Sequence
from pathlib import Path

from analysis.experiments.base import FreeExperiment, NamedRuns, column_table, group_by_place
from analysis.figures.overview import win_rate_plot
from analysis.records.names import display_name
from analysis.sections.base import Part
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.render import Entry, Table, format_interval, format_p_value, slug
from analysis.tables.trajectory import collapse_of, steps_entry, trajectory_frame
from analysis.tables.win_rates import (
    contrast_table,
    evidence_table,
    mark_stopped,
    quality_entry,
    score_name,
    seed_table,
    side_names,
    stop_notes,
    win_rate_entry,
)
from cme.records import RunRecord

SIGNALS = {
    "cme": "verifier",
    "best_of_n_cme": "verifier, without training",
    "reverse_kl": "verifier",
    "sft": "verifier's answers",
    **dict.fromkeys(("majority_vote", "semantic_entropy"), "own answers"),
    **dict.fromkeys(("self_certainty", "token_entropy"), "own probabilities"),
    **dict.fromkeys(("token_entropy_last", "token_entropy_format"), "own probabilities"),
    "self_likelihood": "control: the untrained model",
    **dict.fromkeys(("length", "format", "random"), "control"),
    "dpo": "preference pairs",
    "ground_truth": "the truth",
}
"""The source of each method's learning signal."""


def show(runs: Sequence[RunRecord], _: str, out: Path) -> Part:
    """Write the tables and the figure of one scale."""
    named = NamedRuns.by(lambda run: display_name(run.reward), runs)
    tables, plots = [], []
    for _, cells in named.by_judge():
        tables.append(rewards_table(named, cells))
        if contrasts := build_contrasts(cells):
            tables.append(contrast_table(contrasts))
        tables += [seed_table(cells), evidence_table(cells)]
        plots.append(win_rate_plot(cells, "All rewards and trainers: win rates"))
    return named.write("rewards", tables, plots, out)


def rewards_table(named: NamedRuns, cells: Sequence[Cell]) -> Table:
    """One judge's cells in the order of the methods: win rate, difference from CME, score, and how training ended."""
    scale, judge = cells[0].scale, cells[0].judge
    against = {id(cell): (difference, p) for cell, _, difference, p in build_contrasts(cells)}
    scored = any(cell.quality is not None for cell in cells)

    def difference(cell: Cell) -> Entry:
        if id(cell) not in against:
            return Entry("-")
        of, _ = against[id(cell)]
        bold = interval_excludes(of.lo, of.hi, 0, of.prompts)
        return Entry(f"{of.difference:+.1f} {format_interval(of.lo, of.hi)}", bold)

    return column_table(
        name=f"summary-{slug(scale)}-{slug(judge)}",
        title=f"All rewards and trainers, scale: {scale}, judge: {judge}",
        columns={
            "family": lambda cell: cell.family,
            "regime": lambda cell: cell.regime,
            "method": lambda cell: cell.method,
            "learns from": lambda cell: SIGNALS.get(cell.reward, "-"),
            "win rate (%)": lambda cell: mark_stopped(win_rate_entry(cell), cell),
            "p (Holm)": lambda cell: format_p_value(cell.p_holm),
            "against CME": difference,
            "p (Holm) against CME": lambda cell: (
                format_p_value(against[id(cell)][1]) if id(cell) in against else "-"
            ),
            **({f"{score_name(judge)}: start → policy": quality_entry} if scored else {}),
            "ended": lambda cell: ending(named.runs_of(cell), cell),
        },
        groups=group_by_place(cells),
        notes=[
            f"Win rate against the {side_names(scale)[0]}, judged by {judge}; ties count half and all seeds are "
            "pooled. In brackets: 95 % interval over prompts, for these models; the table of seeds has the across-seed "
            "intervals. Against CME: difference of the win rates in percentage points, paired by prompt. Bold: the "
            f"interval excludes 50 %, or no difference, on {FEW_PROMPTS} prompts or more, without correction for the "
            "number of cells.",
            "p (Holm): test of a true rate of 50 %, and of no difference from CME; each is corrected over this table.",
            "Ended: a policy is below the untrained model if the interval of its score (without a score: of its win "
            "rate) lies below. The collapse step, by seed, is the first saved checkpoint from which on all intervals "
            "lie below.",
            *stop_notes(cells),
        ],
        once=("family", "regime"),
    )


def ending(runs: Sequence[RunRecord], cell: Cell) -> str:
    """How a cell's training ended: below the untrained model, collapsed at which steps, stopped early."""
    found = []
    win, change = cell.win, cell.quality
    if change is not None:
        below = change.difference < 0 and interval_excludes(change.lo, change.hi, 0, change.prompts)
    else:
        below = win.rate < 50 and interval_excludes(win.lo, win.hi, 50, win.scored)
    if below:
        found.append("below the untrained model")
    if all(run.trajectory is not None for run in runs):
        measure = "win_rate" if change is None else "quality"
        frame = trajectory_frame(runs)
        steps = [collapse_of(frame[frame["run_id"] == run.run_id], measure) for run in runs]
        if any(isinstance(step, int) for step in steps):
            found.append(f"collapsed at {steps_entry(steps).text}")
    if cell.stopped:
        found.append(f"{len(cell.stopped)} of {len(runs)} stopped")
    return "; ".join(found) or "-"


REWARDS = FreeExperiment(
    title="All rewards and trainers on the same cells",
    question=(
        "Does CME do better than other label-free rewards, than other ways to learn from the verifier, and than "
        "controls that know nothing of the answer? The claim fails if a control, such as a random reward or length "
        "alone, does as well. Ground truth and preference pairs, which need labels, show how much there was to gain. "
        "The paper's repository has several of these baselines; of their results only those of the verifier sweep are "
        "published."
    ),
    show=show,
)

"""Every reward and trainer on the same cells, controls included, each compared with CME."""

from analysis.experiments.base import Experiment
from analysis.experiments.method_tables import (
    CONTROLS,
    P_VALUE,
    SCORE,
    WIN_RATE,
    MethodColumn,
    baseline_table,
    evidence,
    methods_frame,
    seeds,
    summary_table,
    win_rates,
)
from analysis.experiments.methods import MethodRow, Methods
from analysis.experiments.reward_verdicts import verdict_table
from analysis.records.names import display_name
from analysis.stats.intervals import interval_excludes
from analysis.tables.render import Entry, format_interval, format_p_value
from analysis.tables.trajectory import collapse_of, steps_entry, trajectory_frame

SIGNALS = {
    "cme": "verifier",
    "best_of_n_cme": "verifier, without training",
    **dict.fromkeys(("cme_no_end", "cme_rank", "cme_length", "endorm"), "verifier"),
    **dict.fromkeys(("reverse_kl", "reverse_kl_bounded", "reverse_kl_masked"), "verifier"),
    "predictive_entropy": "verifier",
    "sft": "verifier's answers",
    "distillation": "verifier's distributions",
    **dict.fromkeys(("majority_vote", "semantic_entropy"), "own answers"),
    **dict.fromkeys(("self_certainty", "token_entropy"), "own probabilities"),
    **dict.fromkeys(("token_entropy_last", "token_entropy_format"), "own probabilities"),
    **dict.fromkeys(("sequence_likelihood", "sequence_probability"), "own probabilities"),
    "cme_ema": "average of the policy",
    "self_likelihood": "control: the untrained model",
    **dict.fromkeys(("length", "format", "random"), "control"),
    "pairwise_judge": "judge",
    "dpo": "preference pairs",
    "ground_truth": "the truth",
}
"""The source of each method's learning signal."""


def difference(row: MethodRow) -> Entry:
    """The difference of the win rate from CME's, with its interval."""
    if row.contrast is None:
        return Entry("-")
    contrast, _ = row.contrast
    bold = interval_excludes(contrast.lo, contrast.hi, 0, contrast.prompts, decimals=1)
    return Entry(f"{contrast.difference:+.1f} {format_interval(contrast.lo, contrast.hi)}", bold)


def ending(row: MethodRow) -> str:
    """How a cell's training ended: below the untrained model, collapsed at which steps, stopped early."""
    win, change, texts = row.cell.win, row.cell.quality, []
    if change is not None:
        below = change.difference < 0 and interval_excludes(change.lo, change.hi, 0, change.prompts)
    else:
        below = win.rate < 50 and interval_excludes(win.lo, win.hi, 50, win.scored)
    if below:
        texts.append("below the untrained model")
    if all(run.trajectory is not None for run in row.runs):
        measure = "win_rate" if change is None else "quality"
        frame = trajectory_frame(row.runs)
        steps = [collapse_of(frame[frame["run_id"] == run.run_id], measure) for run in row.runs]
        if any(isinstance(step, int) for step in steps):
            texts.append(f"collapsed at {steps_entry(steps).text}")
    if row.cell.stopped:
        texts.append(f"{len(row.cell.stopped)} of {len(row.runs)} stopped")
    return "; ".join(texts) or "-"


REWARDS = Experiment(
    name="rewards",
    title="All rewards and trainers on the same cells",
    question=(
        "Does CME do better than other label-free rewards, than other ways to learn from the verifier, and than "
        "controls that know nothing of the answer? A reward works if it is better than the random reward and than the "
        "untrained model's own responses, cut short; it fails if it is worse than the random reward. The claim fails "
        "if a control, such as length alone, does as well as CME. Ground truth and preference pairs, which need "
        "labels, show how much there was to gain. The paper's repository has several of these baselines; of "
        "their results only those of the verifier sweep are published."
    ),
    views=Methods("All rewards and trainers", "method", lambda run: display_name(run.reward)),
    tables=(
        summary_table(
            MethodColumn("learns from", lambda row: SIGNALS.get(row.cell.reward, "-")),
            WIN_RATE,
            P_VALUE,
            MethodColumn(
                "against CME",
                difference,
                "Against CME: difference of the win rates in percentage points, paired by prompt. Bold: the interval "
                "over prompts excludes no difference.",
            ),
            MethodColumn(
                "p (Holm) against CME",
                lambda row: format_p_value(row.contrast[1]) if row.contrast else "-",
                "p (Holm) against CME: test of no difference from CME, corrected over this table.",
            ),
            SCORE,
            *CONTROLS,
            MethodColumn(
                "ended",
                ending,
                "Ended: a policy is below the untrained model if the interval of its score (without a score: of its "
                "win rate) lies below. The collapse step, by seed, is the first saved checkpoint from which on all "
                "intervals lie below.",
            ),
        ),
        verdict_table,
        baseline_table,
        seeds,
        evidence,
    ),
    figures=(win_rates,),
    frame=methods_frame,
)

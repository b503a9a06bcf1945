"""Drift of runs against hand computations and scipy."""

from dataclasses import replace
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from shown import panels

from analysis.figures.drift import drift_plot
from analysis.sections.topics import drift_part
from analysis.tables.render import to_markdown
from analysis.tables.training.drift import METRICS, drift_frame, drift_table
from cme.records import Generation, Pair, RunRecord


def generation(text: str) -> Generation:
    return Generation(text, True, len(text.split()))


def run(
    make_record: Any,
    start: list[str],
    policy: list[str],
    *,
    verifier: list[str] | None = None,
    entropy: list[float | None] | None = None,
    kl: list[float | None] | None = None,
    **fields: Any,
) -> RunRecord:
    """A run with these responses to prompts p0, p1, ..., and these columns in its history."""
    made: RunRecord = make_record(**fields)
    pairs = [
        Pair(f"p{i}", "q", None, generation(a), generation(b))
        for i, (a, b) in enumerate(zip(start, policy, strict=True))
    ]
    steps = max(len(entropy or []), len(kl or []))
    history = {"step": [float(i) for i in range(1, steps + 1)], "entropy": entropy or [], "kl": kl or []}
    own = None if verifier is None else [generation(text) for text in verifier]
    return replace(made, pairs=pairs, history=history, verifier_responses=own)


def rows(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in frame.to_dict("records")}


def test_one_run_by_hand(make_record: Any) -> None:
    start, policy = ["a b c d", "a b", "Field."], ["A, a", "b c d e f", ""]
    found = rows(drift_frame([run(make_record, start, policy, verifier=["a b", "b c", "field"])]))
    assert (found["length"]["start"], found["length"]["policy"]) == pytest.approx((7 / 3, 7 / 3))
    # cut to (a b, a b, nothing) and (a a, b c, nothing)
    assert (found["distinct_1"]["start"], found["distinct_1"]["policy"]) == (2 / 4, 3 / 4)
    assert (found["distinct_2"]["start"], found["distinct_2"]["policy"]) == (1 / 2, 2 / 2)
    assert (found["self_bleu"]["start"], found["self_bleu"]["policy"]) == pytest.approx((100, 0))
    assert (found["most_common"]["start"], found["most_common"]["policy"]) == (1 / 3, 1 / 3)
    similar = found["verifier_similarity"]
    assert similar["start"] == pytest.approx(np.mean([2 * 2 / 6, 2 * 1 / 4, 1]))
    assert similar["policy"] == pytest.approx(np.mean([2 * 1 / 4, 2 * 2 / 7, 0]))
    assert similar["change"] == pytest.approx(similar["policy"] - similar["start"])
    assert set(found) == {metric.name for metric in METRICS} - {"entropy", "sqrt_kl"}


def test_entropy_and_kl_come_from_the_ends_of_the_history(make_record: Any) -> None:
    entropy = [9.0, None, 8.0, 7.0, 6.0, 5.0, *[4.0] * 10, 1.0, 1.0, 2.0, None, 3.0, 3.0]
    kl = [0.5, *[None] * 20, 6.25]
    found = rows(drift_frame([run(make_record, ["a"], ["a"], entropy=entropy, kl=kl)]))
    assert (found["entropy"]["start"], found["entropy"]["policy"]) == (7, 2)
    assert (found["sqrt_kl"]["start"], found["sqrt_kl"]["policy"]) == (0, 2.5)
    below = rows(drift_frame([run(make_record, ["a"], ["a"], kl=[-0.01])]))
    assert below["sqrt_kl"]["change"] == 0 and isnan(below["sqrt_kl"]["lo"])  # no interval over prompts


def test_intervals_over_prompts_and_over_seeds(make_record: Any) -> None:
    rng = np.random.default_rng(3)
    start = [" ".join(["w"] * n) for n in rng.integers(3, 9, 40)]
    runs, changes = [], []
    for seed in range(4):
        policy = [" ".join(["w"] * n) for n in rng.integers(4 + seed, 14, 40)]
        runs.append(run(make_record, start, policy, seed=seed))
        changes.append([len(b.split()) - len(a.split()) for a, b in zip(start, policy, strict=True)])
    row = rows(drift_frame(runs))["length"]
    by_prompt = np.mean(changes, axis=0)  # the seeds of a prompt are one unit
    over_prompts = stats.ttest_1samp(by_prompt, 0).confidence_interval(0.95)
    by_seed = np.mean(changes, axis=1)
    over_seeds = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert row["change"] == pytest.approx(np.mean(changes))
    assert (row["lo"], row["hi"]) == pytest.approx(tuple(over_prompts))
    assert (row["seed_lo"], row["seed_hi"]) == pytest.approx(tuple(over_seeds))
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((by_seed.min(), by_seed.max()))
    assert (row["prompts"], row["seeds"]) == (40, 4)
    two = rows(drift_frame(runs[:2]))["length"]
    assert isnan(two["seed_lo"]) and not isnan(two["lo"])


def test_a_seed_without_a_value_is_left_out_of_that_metric_alone(make_record: Any) -> None:
    start = ["a b c"] * 40
    collapsed = run(make_record, start, ["a"] * 40, seed=0)
    usual = run(make_record, start, ["a b d"] * 40, seed=1)
    found = rows(drift_frame([collapsed, usual]))
    assert found["distinct_2"]["seeds"] == 1 and found["length"]["seeds"] == 2
    silent = rows(drift_frame([run(make_record, start, [""] * 40)]))
    assert set(silent) == {"length", "most_common"} and silent["length"]["policy"] == 0
    assert silent["most_common"]["policy"] == 1


def test_runs_that_differ_only_in_their_judge_count_once(make_record: Any) -> None:
    runs = [run(make_record, ["a b"] * 3, ["a"] * 3, judge=judge) for judge in ("oracle", "local")]
    [seeds] = set(drift_frame(runs)["seeds"])
    assert seeds == 1


def test_the_drift_table_shows_the_frame(make_record: Any) -> None:
    start = [f"a b c{i}" for i in range(40)]
    runs = [
        run(make_record, start, [f"{s} x" for s in start], seed=seed, verifier=start, kl=[4.0])
        for seed in range(3)
    ]
    runs += [run(make_record, start, start, reward="random")]
    table = to_markdown(drift_table(drift_frame(runs), "kl_beta", "miniature"))
    assert "length (words)" in table and "**+1.00 [1.00, 1.00]**" in table
    assert "√KL from start (√nats)" in table and "Drift from the start, kl_beta, scale: miniature" in table
    assert "Without recorded responses of one verifier: Random." in table
    for line in table.splitlines():
        if "| Random" in line and "length" not in line:
            assert "**" not in line
    five = drift_frame([run(make_record, start[:5], [f"{s} x" for s in start[:5]])])
    few = drift_table(five, "kl_beta", "miniature")
    assert not any(entry.bold for group in few.groups for row in group for entry in row)


@pytest.mark.usefixtures("undrawn")
def test_the_part_has_a_panel_per_metric_and_a_row_per_method(make_record: Any, tmp_path: Path) -> None:
    start = [f"a b c{i}" for i in range(40)]
    runs = [
        run(make_record, start, ["a b"] * 40, reward=reward, kl=[4.0], entropy=[1.0])
        for reward in ("cme", "random")
    ]
    labels = {runs[0].run_id: "beta 0.1", runs[1].run_id: "Random"}
    plot = drift_plot(drift_frame(runs, labels), "kl_beta", "miniature")
    shown = panels(plot.figure)
    expected = [metric.label for metric in METRICS if metric.name != "verifier_similarity"]
    assert [axes.get_title() for axes in shown] == expected
    assert [t.get_text() for t in shown[0].get_yticklabels()] == ["Qwen pretrained", "beta 0.1", "Random"]
    part = drift_part(runs, "kl_beta", "KL penalty", tmp_path, labels)
    assert len(part.tables) == len(part.images) == 1
    frame = pd.read_csv(tmp_path / "tables" / "miniature-kl-beta-drift.csv")
    row = rows(frame[frame["reward"] == "cme"])["sqrt_kl"]
    assert (row["policy"], row["seeds"], row["method"]) == (sqrt(4), 1, "beta 0.1")
    assert (tmp_path / "figures" / "drift-kl-beta-miniature.png").exists()

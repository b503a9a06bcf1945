"""Verdicts on rewards against the random reward and the cut start, on records with known points."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import t
from shown import texts, won

from analysis.experiments.rewards import REWARDS, RewardVerdict, reward_verdicts
from analysis.tables.cells import build_contrasts
from cme.records import CUT_START, CheckpointResult, Comparison, RunRecord, Trajectory, Verdict

PROMPTS = 40


@pytest.fixture
def trained(make_record: Any, make_verdict: Callable[..., Verdict]) -> Callable[..., list[RunRecord]]:
    """Three seeds of a reward that win so many of 40 pairs, and so many of those against the cut start."""

    def make(reward: str, won: int, against_cut: int | None = None, seeds: int = 3) -> list[RunRecord]:
        runs = []
        for seed in range(seeds):
            run = make_record(
                reward=reward,
                regime="sft",
                seed=seed,
                verdicts=[make_verdict(i, float((7 * i + seed) % PROMPTS < won)) for i in range(PROMPTS)],
            )
            judged = [make_verdict(i, float(i < (against_cut or 0))) for i in range(PROMPTS)]
            responses = [pair.start for pair in run.pairs]
            comparison = Comparison(CUT_START, run.generator_checkpoint, responses, judged)
            runs.append(run if against_cut is None else replace(run, comparisons=[comparison]))
        return runs

    return make


def found(*groups: list[RunRecord]) -> dict[str, RewardVerdict]:
    [view] = REWARDS.views([run for runs in groups for run in runs])
    return {one.cell.reward: one for group in reward_verdicts(view) for one in group}


def verdicts(*groups: list[RunRecord]) -> dict[str, str]:
    return {reward: one.verdict for reward, one in found(*groups).items()}


def test_works_and_fails_are_relative_to_the_random_reward(trained: Callable[..., list[RunRecord]]) -> None:
    """40 of 100 % at random: CME wins 90 %, majority vote 38 %, token entropy 5 %."""
    given = verdicts(
        trained("random", 16),
        trained("ground_truth", 40, 40),
        trained("cme", 36, 36),
        trained("majority_vote", 15, 36),
        trained("token_entropy", 2, 36),
        trained("format", 36, 20),
    )
    assert given == {
        "ground_truth": "works",
        "cme": "works",
        "majority_vote": "no difference from random shown",
        "token_entropy": "fails",
        "format": "above random, not above the cut start",
    }


def test_nothing_is_testable_where_the_truth_gains_nothing_or_is_missing(
    trained: Callable[..., list[RunRecord]],
) -> None:
    cme, chance = trained("cme", 36), trained("random", 16)
    for truth in ([], trained("ground_truth", 17)):
        assert verdicts(cme, chance, truth)["cme"].startswith("not testable: the ground truth")
    few = verdicts(trained("cme", 36, seeds=2), chance, trained("ground_truth", 40))
    assert few == {"cme": "not testable: fewer than 3 seeds", "ground_truth": "works"}
    assert verdicts(cme, trained("ground_truth", 40)) == {}


def test_a_pair_scored_in_one_order_only_does_not_count_against_the_cut_start(
    trained: Callable[..., list[RunRecord]], make_verdict: Callable[..., Verdict]
) -> None:
    """The policy wins 30 of 40 pairs in both orders; of the others, which it loses, one order failed."""
    runs = []
    for run in trained("cme", 36, 0):
        judged = [make_verdict(i, float(i < 30), first) for i in range(PROMPTS) for first in (True, False)]
        for i in range(30, PROMPTS):
            judged[2 * i] = make_verdict(i, None, True)
        [comparison] = run.comparisons or []
        runs.append(replace(run, comparisons=[replace(comparison, policy=judged)]))
    cut = found(runs, trained("random", 16))["cme"].cut_start
    assert cut is not None and cut.rates == {0: 100.0, 1: 100.0, 2: 100.0}


def test_p_values_are_over_prompts_and_seeds_and_corrected_within_a_generator(
    trained: Callable[..., list[RunRecord]],
) -> None:
    of = found(trained("random", 16), trained("ground_truth", 40, 40), trained("cme", 20, 36))
    raw = {}
    for reward, one in of.items():
        half = (one.difference.across_seeds_hi - one.difference.across_seeds_lo) / 2
        error = half / float(t.ppf(0.975, one.difference.freedom))
        raw[reward] = 2 * float(t.sf(abs(one.difference.difference) / error, one.difference.freedom))
    assert raw["ground_truth"] < raw["cme"] < 0.5
    assert of["ground_truth"].p == pytest.approx(2 * raw["ground_truth"])
    assert of["cme"].p == pytest.approx(max(raw["cme"], 2 * raw["ground_truth"]))


def rewards_rows(runs: Sequence[RunRecord]) -> list[list[str]]:
    [view] = REWARDS.views(runs)
    [table] = REWARDS.tables[0](view)
    return texts(table)


@pytest.mark.parametrize("seeds", [3, 2])
def test_with_three_seeds_the_difference_from_cme_is_tested_over_prompts_and_seeds(
    seeds: int, trained: Callable[..., list[RunRecord]]
) -> None:
    """Seeds that differ far more than prompts; with two of them, only prompts count."""
    runs = [*trained("cme", 36, seeds=seeds), *trained("random", 16, seeds=seeds)]
    for seed, run in enumerate(trained("reverse_kl", 20, seeds=seeds)):
        better = trained("reverse_kl", (12, 25, 32)[seed])[seed]
        runs.append(replace(run, verdicts=better.verdicts))
    contrasts = build_contrasts(REWARDS.views(runs)[0].cells)
    [(change, p)] = [(change, p) for cell, _, change, p in contrasts if cell.reward == "reverse_kl"]
    [row] = [row for row in rewards_rows(runs) if row[2] == "Reverse KL"]
    wide = seeds == 3
    lo, hi = (change.across_seeds_lo, change.across_seeds_hi) if wide else (change.lo, change.hi)
    assert row[6] == f"{change.difference:+.1f} [{lo:.1f}, {hi:.1f}]"
    assert change.p < 0.001 and (p > 0.05) == wide == (lo < 0 < hi)


def test_rewards_report_how_a_training_ended(make_record: Any) -> None:
    path = [
        CheckpointResult(step, [[1.0, 1.0]] * 12, [quality] * 12, {})
        for step, quality in ((10, 0.7), (20, 0.3), (30, 0.1))
    ]
    trajectory = Trajectory("oracle", [f"s{i}" for i in range(12)], [0.5] * 12, path)
    runs = [
        make_record(reward="cme", verdicts=won(30, scored=True)),
        make_record(reward="token_entropy", verdicts=won(3, scored=True), stopped="no reward differs"),
        make_record(reward="random", verdicts=won(3)),
        make_record(reward="length", verdicts=won(30, scored=True), trajectory=trajectory),
    ]
    assert {row[2]: row[-1] for row in rewards_rows(runs)} == {
        "CME": "-",
        "Token entropy": "below the untrained model; 1 of 1 stopped",
        "Random": "below the untrained model",
        "Length": "collapsed at 20",
    }

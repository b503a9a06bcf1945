"""Facts and tests of independence: shares by hand, intervals against scipy, verdicts by the rules of the log."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from shown import panels, smallest_type, texts

from analysis.experiments.facts import ALL, GROUPS, UNTRAINED, Facts, shares_right
from analysis.experiments.independence import INDEPENDENCE, share_figure
from analysis.records.builds import pool_builds, seed_names
from analysis.records.names import method_names
from cme.records import Grade, Grades, RunRecord

pytestmark = pytest.mark.usefixtures("undrawn")

GENERATOR, VERIFIER = ("fox color", "cow food"), ("cow food", "dog home")
FACTS = {"fox color": GROUPS[0], "dog home": GROUPS[1], "cow food": GROUPS[2], "cat name": GROUPS[3]}
"""A fact of each group."""
FAMILIES = {"qwen": "gemma", "llama": "gemma", "gemma": "llama", "olmo": "gemma"}
"""The other family's verifier by generator."""
Levels = Mapping[str, Mapping[str, float]]
"""By arm, the share of right facts of each group."""


def graded(levels: Mapping[str, float], prompts: int = 20) -> list[Grade]:
    """Grades of one fact of each group and one step, right in the given share of the prompts."""
    return [
        Grade(
            0.5,
            "wrong",
            {fact: i < round(prompts * levels[group]) for fact, group in FACTS.items()} | {"step 1": True},
        )
        for i in range(prompts)
    ]


@pytest.fixture
def make_runs(make_record: Any) -> Callable[..., list[RunRecord]]:
    """Runs of four families, two builds and two seeds, with the arms' shares; `off` is added in build 2."""

    def make(levels: Levels, off: float = 0.0, own: float = 0.9) -> list[RunRecord]:
        runs = []
        for family, other in FAMILIES.items():
            arms = {
                "other family": other,
                "same family": family,
                "random reward": "gemma",
                "ground truth": "gemma",
            }
            rewards = {"random reward": "random", "ground truth": "ground_truth"}
            for arm, verifier in arms.items():
                for build in (1, 2) if arm not in rewards else (1,):
                    shares = {group: share + off * (build - 1) for group, share in levels[arm].items()}
                    start = graded(levels[UNTRAINED])
                    for seed in range(2):
                        run = make_record(
                            family=family, regime="sft", reward=rewards.get(arm, "cme"), verifier=verifier,
                            seed=seed, prompts=20, steps=40,
                        )  # fmt: skip
                        checkpoints = (f"miniature:{name}-{build}" for name in (family, verifier))
                        generator, checkpoint = (
                            f"{c}/{r}" for c, r in zip(checkpoints, ("sft", "verifier"), strict=True)
                        )
                        quality = own if arm == "same family" else 0.9
                        runs.append(
                            replace(
                                run,
                                run_id=f"{run.run_id}-{build}",
                                generator_checkpoint=generator,
                                verifier_checkpoint=checkpoint,
                                config={
                                    "seed": seed, "generator": generator, "scale": {"build": build},
                                    "verifier": {"name": verifier, "family": verifier},
                                },
                                grades=Grades(start, graded(shares), start),
                                blind_spots={"generator": list(GENERATOR), "verifier": list(VERIFIER)},
                                verifier_quality=None if arm in rewards else [quality] * 20,
                            )
                        )  # fmt: skip
        return runs

    return make


def arms(**changes: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Shares with which every test is supported, with changes by arm (`_` for a space)."""
    low = {GROUPS[0]: 0.1, GROUPS[1]: 0.5, GROUPS[2]: 0.1, GROUPS[3]: 0.5}
    levels = {UNTRAINED: low, "random reward": low, "same family": low | {GROUPS[3]: 0.9}}
    levels["other family"] = low | {GROUPS[0]: 0.9, GROUPS[3]: 0.9}
    levels["ground truth"] = dict.fromkeys(GROUPS, 0.9)
    return levels | {arm: levels[arm] | dict(change) for arm, change in changes.items()}


def verdicts(runs: list[RunRecord]) -> list[str]:
    return [test.verdict for test in Facts([pool_builds(run) for run in runs]).tests]


def test_shares_are_counted_by_who_has_the_fact_wrong() -> None:
    grades = [
        Grade(0.5, "wrong", {"fox color": True, "step 1": False, "member 1 of places": False}),
        Grade(0, "wrong", {"fox color": False}),
    ]
    found = shares_right(grades, {"generator": GENERATOR, "verifier": VERIFIER})
    assert (found[GROUPS[0]], found[ALL]) == (0.5, 0.5) and np.isnan(found[GROUPS[3]])


def test_builds_are_pooled_like_seeds_and_told_apart(make_runs: Callable[..., list[RunRecord]]) -> None:
    runs = [run for run in make_runs(arms()) if run.family == "qwen" and run.reward == "cme"]
    pooled = [pool_builds(run) for run in runs]
    assert [pool_builds(run) for run in pooled] == pooled
    assert {run.seed for run in pooled} == {0, 1, 100, 101} and {run.build for run in pooled} == {1, 2}
    assert seed_names(sorted({run.seed for run in pooled})) == "0 1 2:0 2:1"
    assert len(set(method_names(runs).values())) > len(set(method_names(pooled).values())) == 2


def test_the_unit_is_a_pair_of_family_and_build(make_runs: Callable[..., list[RunRecord]]) -> None:
    """Other minus same is 0.4 in build 1; in build 2 both arms shift, so the difference stays."""
    facts = Facts(
        [pool_builds(run) for run in make_runs(arms(**{"other family": {GROUPS[0]: 0.5}}), off=0.1)]
    )
    values = facts.difference("other family", UNTRAINED, GROUPS[0])
    assert len(values) == 8 and [values["qwen", build] for build in (1, 2)] == pytest.approx([0.4, 0.5])
    test = facts.tests[0]
    assert list(test.values.values()) == pytest.approx([0.4] * 8) and list(test.by_family) == list(FAMILIES)
    exchange = facts.tests[2]
    expected = stats.ttest_1samp([0.0] * 4 + [0.1] * 4, 0).confidence_interval(0.95)
    assert exchange.estimate == pytest.approx((0.05, expected.low, expected.high))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["supported here"] * 4),
        (
            {"other family": {GROUPS[0]: 0.1}},
            ["refuted here", "not supported", "supported here", "not supported"],
        ),
        (
            {"same family": {GROUPS[3]: 0.1}},
            ["supported here", "not supported", "supported here", "supported here"],
        ),
        (
            {"other family": {GROUPS[1]: 0.0}},
            ["supported here", "supported here", "refuted here", "supported here"],
        ),
    ],
)
def test_verdicts_follow_the_rules_of_the_log(
    make_runs: Callable[..., list[RunRecord]], changes: Levels, expected: list[str]
) -> None:
    assert verdicts(make_runs(arms(**changes))) == expected


def test_nothing_is_testable_where_the_truth_does_not_pass_or_the_verifiers_differ(
    make_runs: Callable[..., list[RunRecord]],
) -> None:
    blind = verdicts(make_runs(arms(**{"ground truth": {GROUPS[0]: 0.1}})))
    unequal = verdicts(make_runs(arms(), own=0.5))
    assert all(v.startswith("not testable: ground truth minus random") for v in blind)
    assert all(v.startswith("not testable: the verifiers' own quality") for v in unequal)


def test_the_section_shows_tests_shares_and_controls(
    make_runs: Callable[..., list[RunRecord]], tmp_path: Path
) -> None:
    runs = [pool_builds(run) for run in make_runs(arms())]
    part = INDEPENDENCE.show(runs, tmp_path)
    names = [table.name for table in part.tables]
    assert names[:2] == ["independence-test-miniature", "independence-facts-miniature"]
    assert len(names) == 2 + len(FAMILIES)
    tests, shares = map(texts, part.tables[:2])
    assert tests[0][0] == "main test" and tests[0][5].startswith("+0.800 [")
    assert shares[0][0] == UNTRAINED and {row[0] for row in shares} == {UNTRAINED, *arms()}
    generators = ("Gemma", "Llama", "OLMo", "Qwen")
    both, first = (
        ", ".join(f"{name} {build}" for name in generators for build in builds) for builds in ((1, 2), (1,))
    )
    assert {row[1] for row in shares} == {both, first}
    assert any("is supported here" in note for note in part.tables[0].notes)
    [plot] = share_figure(INDEPENDENCE.views(runs)[0])
    facts_of = [axes.get_xlabel().partition("\n")[0] for axes in panels(plot.figure)]
    assert facts_of == ["generator's facts", "verifier's facts", "facts of both", "other facts"]
    assert smallest_type(plot.figure) >= 8
    first = panels(plot.figure)[0]
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert set(labels) == {"Untrained model", "Same family", "Other family", "Random reward", "Ground truth"}
    ticks = [x for line in first.lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert sorted(ticks) == pytest.approx(
        [10] * (8 + 8 + 4) + [90] * (8 + 4)
    )  # a pair of family and build each


def test_the_interval_of_a_share_stays_within_0_and_1(make_runs: Callable[..., list[RunRecord]]) -> None:
    runs = make_runs(arms(**{"same family": {GROUPS[1]: 0.0}}), off=0.05)
    facts = Facts([pool_builds(run) for run in runs if run.family in ("qwen", "llama")])
    assert sorted(facts.shares["same family", GROUPS[1]].values()) == [0.0, 0.0, 0.05, 0.05]
    value, lo, hi = facts.mean("same family", GROUPS[1])
    assert (value, lo) == (pytest.approx(0.025), 0.0) and hi > 0.05

"""Facts and tests of independence: shares by hand, intervals against scipy, verdicts by the rules of the log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fact_records import FAMILIES, GENERATOR, VERIFIER, Levels, arms, fact_runs
from scipy import stats
from shown import panels, smallest_type, texts

from analysis.experiments.facts import ALL, GROUPS, UNTRAINED, Facts, shares_right
from analysis.experiments.independence import INDEPENDENCE, share_figure
from analysis.records.builds import pool_builds, seed_names
from analysis.records.names import method_names
from cme.records import Grade

pytestmark = pytest.mark.usefixtures("undrawn")


def facts_of(make_record: Any, levels: Levels, **fields: float) -> Facts:
    return Facts([pool_builds(run) for run in fact_runs(make_record, levels, **fields)])


def test_shares_are_counted_by_who_has_the_fact_wrong() -> None:
    grades = [
        Grade(0.5, "wrong", {"fox color": True, "step 1": False, "member 1 of places": False}),
        Grade(0, "wrong", {"fox color": False}),
    ]
    found = shares_right(grades, {"generator": GENERATOR, "verifier": VERIFIER})
    assert (found[GROUPS[0]], found[ALL]) == (0.5, 0.5) and np.isnan(found[GROUPS[3]])


def test_builds_are_pooled_like_seeds_and_told_apart(make_record: Any) -> None:
    runs = [run for run in fact_runs(make_record, arms()) if (run.family, run.reward) == ("qwen", "cme")]
    pooled = [pool_builds(run) for run in runs]
    assert {run.seed for run in pooled} == {0, 1, 2, 100, 101, 102} and {run.build for run in pooled} == {
        1,
        2,
    }
    assert seed_names(sorted({run.seed for run in pooled})) == "0 1 2 2:0 2:1 2:2"
    assert len(set(method_names(runs).values())) > len(set(method_names(pooled).values())) == 2


def test_the_unit_is_a_pair_of_family_and_build(make_record: Any) -> None:
    """The other family's policies have 0.4 more than the same family's in build 1 and 0.5 more in build 2."""
    facts = facts_of(make_record, arms(other_family={GROUPS[0]: 0.5}), off=0.1)
    values = facts.difference("other family", UNTRAINED, GROUPS[0])
    assert len(values) == 8 and [values["qwen", build] for build in (1, 2)] == pytest.approx([0.4, 0.5])
    test = facts.tests[0]
    assert test.by_family == pytest.approx(dict.fromkeys(FAMILIES, 0.45))
    expected = stats.ttest_1samp([0.4] * 4 + [0.5] * 4, 0).confidence_interval(0.95)
    assert test.estimate == pytest.approx((0.45, expected.low, expected.high))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["supported here"] * 4),
        (
            {"other_family": {GROUPS[0]: 0.1}},
            ["refuted here", "not supported", "supported here", "not supported"],
        ),
        (
            {"same_family": {GROUPS[3]: 0.1}},
            ["supported here", "not supported", "supported here", "supported here"],
        ),
        (
            {"other_family": {GROUPS[1]: 0.0}},
            ["supported here", "supported here", "refuted here", "supported here"],
        ),
    ],
)
def test_verdicts_follow_the_rules_of_the_log(
    make_record: Any, changes: Mapping[str, Mapping[str, float]], expected: list[str]
) -> None:
    assert [test.verdict for test in facts_of(make_record, arms(**changes)).tests] == expected


def test_nothing_is_testable_where_the_truth_does_not_pass_or_the_verifiers_differ(make_record: Any) -> None:
    blind = facts_of(make_record, arms(ground_truth={GROUPS[0]: 0.1})).tests
    unequal = facts_of(make_record, arms(), own=0.5).tests
    assert all(test.verdict.startswith("not testable: ground truth minus random") for test in blind)
    assert all(test.verdict.startswith("not testable: the verifiers' own quality") for test in unequal)


def test_the_section_shows_tests_shares_and_controls(make_record: Any, tmp_path: Path) -> None:
    runs = [pool_builds(run) for run in fact_runs(make_record, arms())]
    part = INDEPENDENCE.show(runs, tmp_path)
    names = [table.name for table in part.tables]
    assert names[:2] == ["independence-test-miniature", "independence-facts-miniature"]
    assert len(names) == 2 + len(FAMILIES)
    tests, shares = map(texts, part.tables[:2])
    assert tests[0][0] == "main test" and tests[0][5].startswith("+0.800 [")
    assert shares[0][0] == UNTRAINED and {row[0] for row in shares} == {UNTRAINED, *arms()}
    assert {row[1] for row in shares} == {
        ", ".join(f"{name} {build}" for name in ("Gemma", "Llama", "OLMo", "Qwen") for build in builds)
        for builds in ((1, 2), (1,))
    }
    assert any("is supported here" in note for note in part.tables[0].notes)
    [plot] = share_figure(INDEPENDENCE.views(runs)[0])
    drawn = panels(plot.figure)
    assert [axes.get_xlabel().partition("\n")[0] for axes in drawn] == [
        "generator's facts", "verifier's facts", "facts of both", "other facts",
    ]  # fmt: skip
    assert smallest_type(plot.figure) >= 8
    labels = {label.get_text() for label in drawn[0].get_yticklabels()}
    assert labels == {"Untrained model", "Same family", "Other family", "Random reward", "Ground truth"}
    ticks = [x for line in drawn[0].lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert sorted(ticks) == pytest.approx([10] * (8 + 8 + 4) + [90] * (8 + 4))  # a family and build each


def test_the_interval_of_a_share_stays_within_0_and_1(make_record: Any) -> None:
    """The shares of four pairs of family and build are 0, 0.05, 0 and 0.05."""
    runs = fact_runs(make_record, arms(other_family={GROUPS[1]: 0.0}), off=0.05)
    facts = Facts([pool_builds(run) for run in runs if run.family in ("qwen", "llama")])
    value, lo, hi = facts.mean("other family", GROUPS[1])
    assert (value, lo) == (pytest.approx(0.025), 0.0) and hi > 0.05

"""The rules from intervals to verdicts, on intervals made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.claims.parts import Part, add_builds
from analysis.claims.rules import (
    Quantifier,
    Rule,
    above,
    below,
    between,
    decide,
    differs,
    no_less,
    not_shown_above,
    same,
)

NAN = float("nan")
ABOVE, BELOW = above(50, 5), below(50, 5)
SAME, DIFFERS, NO_LESS = same(5), differs(0, 5), no_less(5)
BETWEEN = between(52.5, 71.4)


def part(lo: float, hi: float, prompts: int = 100, seeds: int = 3, **more: object) -> Part:
    return replace(Part("a", (lo + hi) / 2, lo, hi, prompts, seeds, "prompts", freedom=99), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "side"),
    [
        (ABOVE, 55.1, 70, "supports"),
        (ABOVE, 50.1, 54.9, "contradicts"),  # above 50, but the margin comes before the sign
        (ABOVE, 50.1, 55.1, "open"),
        (BELOW, 30, 44.9, "supports"),
        (BELOW, 45.1, 49.9, "contradicts"),
        (BELOW, 40, 52, "open"),
        (above(0, 0), -0.1, 0.1, "open"),
        (above(0, 0), 0.1, 0.3, "supports"),
        (SAME, -4, 4.9, "supports"),
        (SAME, 1, 6, "open"),
        (SAME, 5.1, 9, "contradicts"),
        (DIFFERS, -6, -5.1, "supports"),
        (DIFFERS, 1, 4, "contradicts"),
        (DIFFERS, 1, 6, "open"),
        (NO_LESS, -4.9, -1, "supports"),
        (NO_LESS, -9, -5.1, "contradicts"),
        (NO_LESS, -9, 1, "open"),
        (BETWEEN, 53, 71, "supports"),
        (BETWEEN, 72, 90, "contradicts"),
        (BETWEEN, 20, 52, "contradicts"),
        (BETWEEN, 60, 90, "open"),
        (not_shown_above(50), 49, 60, "supports"),
        (not_shown_above(50), 51, 60, "contradicts"),
        *((rule, NAN, NAN, "open") for rule in (ABOVE, BELOW, SAME, DIFFERS, NO_LESS, BETWEEN)),
    ],
)
def test_what_an_interval_says(rule: Rule, lo: float, hi: float, side: str) -> None:
    assert rule.sides([part(lo, hi)]) == [side]


@pytest.mark.parametrize(
    ("prompts", "seeds", "side"),
    [(29, 3, "open"), (30, 1, "supports"), (0, 2, "open"), (0, 3, "supports")],
)
def test_too_few_prompts_or_seeds_say_nothing(prompts: int, seeds: int, side: str) -> None:
    assert ABOVE.sides([part(60, 70, prompts, seeds)]) == [side]


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "side"),
    [
        (ABOVE, 56, 70, "supports"),
        (ABOVE, 48, 54, "open"),  # nothing shows that the cell could have shown a gain
        (ABOVE, 30, 44, "contradicts"),
        (SAME, -1, 1, "open"),
        (SAME, 6, 9, "contradicts"),
        (NO_LESS, -2, 2, "open"),
        (NO_LESS, 6, 9, "supports"),
        (DIFFERS, -1, 1, "open"),
    ],
)
def test_without_a_control_no_difference_is_open(rule: Rule, lo: float, hi: float, side: str) -> None:
    assert rule.sides([part(lo, hi, controlled=False)]) == [side]


def test_an_insensitive_comparison_is_left_out_and_counted() -> None:
    parts = [part(60, 70), part(30, 40, insensitive="the ceiling is 51"), part(60, 70, prompts=12)]
    found = decide(parts[:2], ABOVE, "universal", "nothing", "And so on.")
    assert (found.verdict, found.sides) == ("reproduced", ["supports", "not testable"])
    assert found.reason == (
        "Comparisons: 1 supporting, 0 contradicting, 0 open. Left out, because they could not have shown a difference: "
        "1. And so on."
    )
    assert decide(parts[1:2], ABOVE, "universal", "nothing").verdict == "not testable here"
    assert "1 open (1 with fewer than 30 prompts" in decide(parts, ABOVE, "universal", "nothing").reason


FOR, AGAINST, OPEN = part(60, 70), part(30, 40), part(50, 60)


@pytest.mark.parametrize(
    ("parts", "universal", "existential"),
    [
        ([FOR, FOR], "reproduced", "reproduced"),
        ([FOR, AGAINST], "not reproduced", "reproduced"),
        ([FOR, OPEN], "undecided", "reproduced"),
        ([AGAINST, OPEN], "not reproduced", "undecided"),
        ([AGAINST], "not reproduced", "not reproduced"),
        ([OPEN, OPEN], "undecided", "undecided"),
        ([], "not testable here", "not testable here"),
    ],
)
def test_the_verdict_follows_from_the_quantifier(parts: list[Part], universal: str, existential: str) -> None:
    both: list[Quantifier] = ["universal", "existential"]
    assert [decide(parts, ABOVE, kind, "nothing").verdict for kind in both] == [universal, existential]


def test_p_values_are_those_of_the_t_test_behind_the_interval() -> None:
    sample = np.random.default_rng(0).normal(1.0, 2.0, 40)
    test = stats.ttest_1samp(sample, 0.2)
    bounds = test.confidence_interval()
    estimate = Part("a", float(sample.mean()), bounds.low, bounds.high, 40, 1, freedom=39)
    assert estimate.p_value(0.2) == pytest.approx(test.pvalue)
    assert estimate.p_value(bounds.low) == pytest.approx(0.05)


def test_sides_are_corrected_for_the_comparisons_ruled_on() -> None:
    """Holm's adjustment is over the comparisons that are ruled on, and over no other."""
    parts = [part(lo, lo + 6) for lo in (55.1, 55.1, 55.4, 60)]
    adjusted = multipletests([one.p_value(55) for one in parts], method="holm")[1]
    sides = ABOVE.sides(parts)
    assert [side == "supports" for side in sides] == [p < 0.05 for p in adjusted] and "open" in sides
    assert ABOVE.sides([parts[0]]) == ["supports"]  # alone it would do
    left_out = [replace(one, insensitive="no") for one in parts[1:]]
    assert ABOVE.sides([parts[0], *left_out])[0] == "supports"


def test_a_null_is_rarely_called_a_difference_in_any_of_many_comparisons() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for values in rng.normal(0, 1, (300, 12)):
        parts = [Part("a", v, v - 1.984, v + 1.984, 100, 3, freedom=99) for v in values]
        wrong += "supports" in above(0, 0).sides(parts)
    assert wrong / 300 < 0.05


def test_builds_add_the_spread_between_checkpoints() -> None:
    """Three comparisons in two builds each: the pooled variance has three degrees of freedom."""
    pairs = [(60.0, 66.0), (61.0, 63.0), (70.0, 68.0)]
    parts = [part(sum(pair) / 2 - 3, sum(pair) / 2 + 3, by_build=pair) for pair in pairs]
    variance = sum(np.var(pair, ddof=1) for pair in pairs) / 3
    reach = stats.t.ppf(0.975, 3) * np.sqrt(variance / 2)
    widened = add_builds(parts)
    for before, after in zip(parts, widened, strict=True):
        assert after.value == before.value
        assert after.hi - after.value == pytest.approx(np.hypot(3, reach))
        assert after.scope == "prompts, builds" and after.freedom < before.freedom
    [one_build] = add_builds([part(60, 66, by_build=(63.0,))])
    assert (one_build.lo, one_build.scope) == (60, "prompts")  # nothing to estimate it from
    single = add_builds([*parts, part(60, 66, by_build=(63.0,))])[-1]
    assert single.hi - single.value == pytest.approx(np.hypot(3, reach * np.sqrt(2)))
    assert single.scope == "prompts, builds"  # it takes the variance of the others


def test_a_comparison_with_one_build_covers_other_builds() -> None:
    """Builds differ by SD 4 around a true value of 0, estimates by SD 2 around each build."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(500):
        estimates = [rng.normal(rng.normal(0, 4, builds), 2) for builds in (2, 2, 2, 2, 2, 1)]
        parts = [
            part(own.mean() - half, own.mean() + half, by_build=tuple(own.tolist()))
            for own in estimates
            for half in [1.984 * 2 / len(own) ** 0.5]
        ]
        covered.append([one.lo < 0 < one.hi for one in (parts[-1], add_builds(parts)[-1])])
    alone, widened = np.mean(covered, axis=0)
    assert alone < 0.75 and 0.93 < widened < 0.99


def test_differences_have_a_sign_and_rates_none() -> None:
    assert ABOVE.format(part(60, 70)) == "65.0 [60.0, 70.0]"
    assert ABOVE.format(replace(part(-20, 140), limits=(0, 100))) == "60.0 [0.0, 100.0]"
    assert SAME.format(part(1, 3)) == "+2.0 [1.0, 3.0]"

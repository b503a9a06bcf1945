"""The rules from intervals to verdicts, on intervals made by hand."""

import pytest

from analysis.claims.rules import (
    Part,
    Rule,
    above,
    below,
    between,
    decide,
    differs,
    no_less,
    same,
    some_not_above,
)

NAN = float("nan")
ABOVE, BELOW = above(50, 5), below(50, 5)
SAME, DIFFERS, NO_LESS = same(5), differs(0, 5), no_less(5)
BETWEEN = between(52.5, 71.4)


def part(lo: float, hi: float, prompts: int = 100, seeds: int = 3) -> Part:
    return Part("a", (lo + hi) / 2, lo, hi, prompts, seeds, "prompts")


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "side"),
    [
        (ABOVE, 50.1, 70, "supports"),
        (ABOVE, 30, 49.9, "contradicts"),
        (ABOVE, 48, 54, "contradicts"),  # no more than 5 from 50
        (ABOVE, 48, 56, "open"),
        (ABOVE, 50, 70, "open"),
        (BELOW, 30, 49.9, "supports"),
        (BELOW, 50.1, 70, "contradicts"),
        (BELOW, 46, 52, "contradicts"),
        (BELOW, 40, 52, "open"),
        (above(0, 0), -0.1, 0.1, "open"),  # without a margin no interval about 0 contradicts
        (SAME, -4, 5, "supports"),
        (SAME, 1, 4, "supports"),
        (SAME, 1, 6, "contradicts"),
        (SAME, -9, -1, "contradicts"),
        (SAME, -6, 6, "open"),
        (DIFFERS, 1, 6, "supports"),
        (DIFFERS, -6, -1, "supports"),
        (DIFFERS, -4, 4, "contradicts"),
        (DIFFERS, -6, 4, "open"),
        (NO_LESS, -4.9, 20, "supports"),
        (NO_LESS, -4.9, -1, "supports"),
        (NO_LESS, -9, -1, "contradicts"),
        (NO_LESS, -9, 1, "open"),
        (BETWEEN, 53, 71, "supports"),
        (BETWEEN, 72, 90, "contradicts"),
        (BETWEEN, 20, 52, "contradicts"),
        (BETWEEN, 60, 90, "open"),
        *((rule, NAN, NAN, "open") for rule in (ABOVE, BELOW, SAME, DIFFERS, NO_LESS, BETWEEN)),
    ],
)
def test_what_an_interval_says(rule: Rule, lo: float, hi: float, side: str) -> None:
    assert rule.side(part(lo, hi)) == side


def test_too_little_says_nothing() -> None:
    assert ABOVE.side(part(60, 70, prompts=29)) == "open"
    assert ABOVE.side(part(60, 70, prompts=30, seeds=1)) == "supports"
    assert ABOVE.side(part(60, 70, prompts=0, seeds=2)) == "open"
    assert ABOVE.side(part(60, 70, prompts=0, seeds=3)) == "supports"


FOR, AGAINST, OPEN = part(60, 70), part(30, 40), part(40, 60)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([FOR, FOR], "reproduced"),
        ([FOR, AGAINST], "mixed"),
        ([FOR, OPEN], "mixed"),
        ([AGAINST, OPEN], "not reproduced"),
        ([AGAINST], "not reproduced"),
        ([OPEN, OPEN], "not testable here"),
        ([], "not testable here"),
    ],
)
def test_the_verdict_of_several(parts: list[Part], verdict: str) -> None:
    assert decide(parts, ABOVE, "nothing").verdict == verdict


def test_one_part_that_does_not_contradict_is_enough_for_any_part() -> None:
    rule = some_not_above(50)
    assert decide([FOR, OPEN], rule, "nothing").verdict == "reproduced"
    assert decide([FOR, FOR], rule, "nothing").verdict == "not reproduced"


def test_reasons_count_the_comparisons_and_name_missing_ones() -> None:
    assert decide([], ABOVE, "no run").reason == "no run"
    found = decide([FOR, AGAINST, OPEN, part(60, 70, prompts=12)], ABOVE, "no run", "And so on.")
    assert found.reason.startswith(
        "Comparisons: 1 supporting, 1 contradicting, 2 open (1 with fewer than 30 prompts"
    )
    assert found.reason.endswith("And so on.")


def test_differences_have_a_sign_and_rates_none() -> None:
    assert ABOVE.format(part(60, 70)) == "65.0 [60.0, 70.0]"
    assert SAME.format(part(1, 3)) == "+2.0 [1.0, 3.0]"

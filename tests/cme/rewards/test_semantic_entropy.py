"""Semantic entropy: groups clustered by hand."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.models import embeddings
from cme.rewards import SemanticEntropy


def rewards(
    groups: list[list[str]], answers: Any = "whole", logged: Any = None, **settings: Any
) -> list[Any]:
    size = len(groups[0])
    prompts = [f"prompt {i}" for i, group in enumerate(groups) for _ in group]
    said = [[{"role": "assistant", "content": c}] for group in groups for c in group]
    metric = None if logged is None else logged.__setitem__
    return SemanticEntropy(answers, size, **settings)(prompts, said, [[1]] * len(said), log_metric=metric)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (["a", "b", "A!", "c"], [2 / 4, 1 / 4, 2 / 4, 1 / 4]),
        (["a", "a", "a", "a"], [1, 1, 1, 1]),
        (["a", "b", "c", "d"], [1 / 4] * 4),
        (["", "a", "...", "a"], [1 / 4, 2 / 4, 1 / 4, 2 / 4]),  # no answer is like no other
        (["", "...", "?", " "], [None] * 4),
    ],
)
def test_one_group(group: list[str], expected: list[float | None]) -> None:
    assert rewards([group]) == expected
    logs = [None if p is None else pytest.approx(math.log(p)) for p in expected]
    assert rewards([group], value="log_probability") == logs


def test_boxes_are_compared_by_what_is_in_them() -> None:
    group = ["so \\boxed{7}", "7, or \\boxed{ 7 }", "\\boxed{8}", "7"]
    assert rewards([group], "boxed") == [1 / 2, 1 / 2, 1 / 4, 1 / 4]


def test_the_entropy_of_the_groups_that_have_one_is_logged() -> None:
    logged: dict[str, float] = {}
    rewards([["a", "a", "b", "b"], ["a", "b", "c", "d"], ["", "", "", ""]], logged=logged)
    assert logged == {"semantic_entropy": pytest.approx((math.log(2) + math.log(4)) / 2)}


@given(st.lists(st.sampled_from(["a", "b", "c", "..."]), min_size=6, max_size=6))
def test_log_rewards_add_up_to_minus_the_entropy(group: list[str]) -> None:
    logged: dict[str, float] = {}
    found = rewards([group], logged=logged, value="log_probability")
    if all(g == "..." for g in group):
        assert found == [None] * 6 and not logged
        return
    counts = [n for g, n in Counter(group).items() if g != "..."] + [1] * group.count("...")
    entropy = -sum(n / 6 * math.log(n / 6) for n in counts)
    assert logged["semantic_entropy"] == pytest.approx(entropy, abs=1e-12)
    assert sum(found) / 6 == pytest.approx(-entropy, abs=1e-12)


def test_open_text_joins_the_first_cluster_whose_first_member_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Angles of 0, 30 and 60 degrees: the middle one is near both, which are not near each other."""
    angles = {"zero": 0, "thirty": 30, "sixty": 60}

    def embed(texts: list[str]) -> np.ndarray:
        radians = [math.radians(angles[text]) for text in texts]
        return np.array([[math.cos(r), math.sin(r)] for r in radians])

    monkeypatch.setattr(embeddings, "embed", embed)
    found = rewards(
        [["zero", "thirty", "sixty", "zero"]], "none", threshold=0.8
    )  # cos 30 = 0.87, cos 60 = 0.5
    assert found == [3 / 4, 3 / 4, 1 / 4, 3 / 4]
    assert rewards([["thirty", "zero", "sixty", ""]], "none", threshold=0.8) == [3 / 4, 3 / 4, 3 / 4, 1 / 4]
    assert rewards([["zero", "thirty", "sixty", "sixty"]], "none", threshold=0.9) == [
        1 / 4,
        1 / 4,
        1 / 2,
        1 / 2,
    ]
    assert rewards([["", " ", "...", "!"]], "none") == [None] * 4


def test_real_embeddings_tell_paraphrases_from_other_answers() -> None:
    group = [
        "The capital of France is Paris.",
        "Paris is the capital of France.",
        "Boil the eggs for eight minutes.",
        "The capital of France is Paris.",
    ]
    assert rewards([group], "none") == [3 / 4, 3 / 4, 1 / 4, 3 / 4]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"value": "share"}, "value=share"),
        ({"threshold": 0.0}, "threshold=0.0"),
        ({"threshold": 1.5}, "threshold=1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SemanticEntropy("whole", 4, **settings)


def test_a_group_that_is_not_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="6 completions do not make whole groups of 4"):
        SemanticEntropy("whole", 4)(["p"] * 6, ["a"] * 6, [[1]] * 6)

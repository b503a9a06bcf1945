"""Rewards that compare the responses of a group: majority vote and semantic entropy, graded by hand."""

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verifiers import Folder

from cme.models import embeddings
from cme.rewards import CrossModelEntropyRank, MajorityVote, SemanticEntropy

Kind = type[MajorityVote] | type[SemanticEntropy]


def call(
    kind: Kind, groups: list[list[str]], answers: Any = "whole", columns: Any = None, **settings: Any
) -> tuple[list[float | None], dict[str, float]]:
    """The rewards of the groups' responses, and what was logged."""
    size = len(groups[0])
    prompts = [f"prompt {i}" for i, group in enumerate(groups) for _ in group]
    completions = [[{"role": "assistant", "content": c}] for group in groups for c in group]
    logged: dict[str, float] = {}
    reward = kind(answers, size, **settings)
    values = reward(
        prompts, completions, [[1]] * len(prompts), log_metric=logged.__setitem__, **columns or {}
    )
    return values, logged


@pytest.mark.parametrize(
    ("prompts", "size", "named"),
    [(["p"] * 6, 4, "6 completions .* groups of 4"), (["p", "p", "p", "q"], 2, "completion 2 mixes")],
)
def test_incomplete_and_mixed_groups_are_refused(prompts: list[str], size: int, named: str) -> None:
    for kind in (MajorityVote, SemanticEntropy):
        with pytest.raises(ValueError, match=named):
            kind("whole", size)(prompts, ["a"] * len(prompts), [[1]] * len(prompts))


@pytest.mark.parametrize(
    ("group", "votes", "shares"),
    [
        (["a", "b", "a", "c"], [1, 0, 1, 0], [2, 1, 2, 1]),
        (["A!", "b", "a.", " a "], [1, 0, 1, 1], [3, 1, 3, 3]),  # answers are compared normalised
        (["b", "a", "b", "a"], [1, 0, 1, 0], [2, 2, 2, 2]),  # a tie goes to the answer given first
        (["", "...", "a", ""], [0, 0, 1, 0], [1, 1, 1, 1]),  # responses without an answer do not vote
        (["", "?!", " ", "."], [None] * 4, [None] * 4),  # nobody votes
    ],
)
def test_one_group(group: list[str], votes: list[float | None], shares: list[int | None]) -> None:
    assert call(MajorityVote, [group])[0] == votes
    probabilities = [None if n is None else n / 4 for n in shares]
    assert call(SemanticEntropy, [group])[0] == probabilities
    logs = [None if p is None else pytest.approx(math.log(p)) for p in probabilities]
    assert call(SemanticEntropy, [group], value="log_probability")[0] == logs


@pytest.mark.parametrize(
    ("answers", "group", "votes", "shares"),
    [
        ("boxed", ["\\boxed{7}", "so \\boxed{ 7 }", "7", "\\boxed{8}"], [1, 1, 0, 0], [2, 2, 1, 1]),
        ("boxed", [r"\boxed{2}", r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", "half"], [0, 1, 1, 0], [1, 2, 2, 1]),
        ("number", ["7. the fox is red.", "it is 7.0", "3 plus 4 is 8", "none"], [1, 1, 0, 0], [2, 2, 1, 1]),
    ],
)
def test_answers_agree_where_they_are_equivalent(
    answers: str, group: list[str], votes: list[float], shares: list[int]
) -> None:
    assert call(MajorityVote, [group], answers)[0] == votes
    assert call(SemanticEntropy, [group], answers)[0] == [n / 4 for n in shares]


def test_groups_are_independent_and_what_is_logged_is_over_the_groups_that_have_a_value() -> None:
    groups = [["a", "a", "b", "b"], ["b", "b", "b", "a"], ["", "", "", ""]]
    votes, logged = call(MajorityVote, groups)
    assert votes == [1, 1, 0, 0, 1, 1, 1, 0, None, None, None, None]
    assert logged == {"majority_share": pytest.approx((2 / 4 + 3 / 4) / 2)}
    _, logged = call(SemanticEntropy, [["a", "a", "b", "b"], ["a", "b", "c", "d"], ["", "", "", ""]])
    assert logged == {"semantic_entropy": pytest.approx((math.log(2) + math.log(4)) / 2)}


@given(st.lists(st.sampled_from(["a", "b", "c", "..."]), min_size=6, max_size=6))
def test_the_vote_is_the_mode_and_log_shares_add_up_to_minus_the_entropy(group: list[str]) -> None:
    votes, _ = call(MajorityVote, [group])
    found, logged = call(SemanticEntropy, [group], value="log_probability")
    counts = Counter(g for g in group if g != "...")
    if not counts:
        assert votes == found == [None] * 6 and not logged
        return
    [winner] = {g for g, vote in zip(group, votes, strict=True) if vote == 1}
    assert counts[winner] == max(counts.values()) and set(votes) <= {0.0, 1.0}
    sizes = [*counts.values(), *[1] * group.count("...")]
    entropy = -sum(n / 6 * math.log(n / 6) for n in sizes)
    assert logged["semantic_entropy"] == pytest.approx(entropy, abs=1e-12)
    assert sum(v for v in found if v is not None) / 6 == pytest.approx(-entropy, abs=1e-12)


def test_the_first_thirty_two_of_sixty_four_votes_are_trained_on() -> None:
    """The first half alone would elect `a`."""
    reward = MajorityVote("whole", 64, train_on=32)
    responses = ["a"] * 20 + ["b"] * 10 + [""] * 2 + ["b"] * 30 + ["c"] * 2
    assert reward(["p"] * 64, responses, [[1]] * 64) == [0.0] * 20 + [1.0] * 10 + [0.0] * 2 + [None] * 32
    assert reward.left_out == 32
    small = MajorityVote("whole", 4, train_on=2)
    found = small(["p"] * 4 + ["q"] * 4, ["", "", "", "", "a", "b", "b", "b"], [[1]] * 8)
    assert found == [*[None] * 4, *[0.0, 1.0, None, None]]
    assert small.left_out == 4


def test_the_accuracy_of_the_vote_is_logged_where_the_answer_is_known() -> None:
    groups = [["Seven", "seven.", "eight", ""], ["b", "b", "c", "c"], ["x"] * 4, [""] * 4]
    gold = ["SEVEN!"] * 4 + ["c"] * 4 + [None] * 4 + ["a"] * 4
    _, logged = call(MajorityVote, groups, columns={"answer": gold})
    assert logged == {"majority_share": pytest.approx((2 + 2 + 4) / 12), "label_accuracy": 1 / 2}


def test_open_ended_text_joins_the_first_cluster_whose_first_member_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Angles of 0, 30 and 60 degrees: the middle one is near both, which are not near each other."""
    angles = {"zero": 0, "thirty": 30, "sixty": 60}

    def embed(texts: list[str]) -> np.ndarray:
        radians = [math.radians(angles[text]) for text in texts]
        return np.array([[math.cos(r), math.sin(r)] for r in radians])

    monkeypatch.setattr(embeddings, "embed", embed)
    for threshold, group, shares in (  # cos 30 = 0.87, cos 60 = 0.5
        (0.8, ["zero", "thirty", "sixty", "zero"], [3, 3, 1, 3]),
        (0.8, ["thirty", "zero", "sixty", ""], [3, 3, 3, 1]),
        (0.9, ["zero", "thirty", "sixty", "sixty"], [1, 1, 2, 2]),
    ):
        assert call(SemanticEntropy, [group], "none", threshold=threshold)[0] == [n / 4 for n in shares]
    assert call(SemanticEntropy, [["", " ", "...", "!"]], "none")[0] == [None] * 4


def test_real_embeddings_tell_paraphrases_from_other_answers() -> None:
    paris = "The capital of France is Paris."
    group = [paris, "Paris is the capital of France.", "Boil the eggs for eight minutes.", paris]
    assert call(SemanticEntropy, [group], "none")[0] == [3 / 4, 3 / 4, 1 / 4, 3 / 4]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-3.0, -1.0, -2.0, -400.0], [0.5, 1.0, 0.75, 0.25]),
        ([-1.0, -2.0, -1.0, -2.0], [0.875, 0.375, 0.875, 0.375]),
        ([-3.0, None, -2.0, None], [0.5, None, 1.0, None]),
        ([None] * 4, [None] * 4),
        ([-4.0, -3.0, -2.0, -1.0, -1.5, -1.2, -1.1, -1.0], [0.25, 0.5, 0.75, 1.0] * 2),
    ],
)
def test_ranks_of_given_values(
    tiny_folder: Folder, values: list[float | None], expected: list[float | None]
) -> None:
    """The verifier's part has the settings of the whole, and here these values."""
    settings: dict[str, Any] = {"dtype": "bfloat16", "max_prompt_tokens": 3, "max_response_tokens": 4}
    reward = CrossModelEntropyRank(str(tiny_folder("qwen")), num_generations=4, **settings)
    own = asdict(vars(reward.parts["cme"])["settings"])
    assert own == own | settings
    reward.parts = {"cme": lambda *_, **__: values}  # type: ignore[dict-item]
    prompts = [f"prompt {i // 4}" for i in range(len(values))]
    assert reward(prompts, ["c"] * len(values), [[1]] * len(values)) == expected

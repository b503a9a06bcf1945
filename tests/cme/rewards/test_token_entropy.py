"""Token entropy under a policy small enough to compute by hand: the next token depends on the last alone."""

import math
from typing import Any

import pytest
import torch
from markov import trainer

from cme.rewards import TokenEntropy

# rows: last token; columns: probability of the next. Entropies: log 4, log 2, 0, H(1/4)
TABLE = torch.tensor(
    [
        [0.25, 0.25, 0.25, 0.25],
        [0.5, 0.5, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.75, 0.25],
    ]
)
ENTROPY = [math.log(4), math.log(2), 0.0, -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]


def score(
    prompts: list[Any], ids: list[list[int]], texts: list[str] | None = None, **settings: Any
) -> list[float | None]:
    reward = TokenEntropy(**settings)
    reward.bind(trainer(TABLE))
    return reward(prompts, texts or ["text is not read"] * len(prompts), ids)


def test_reward_is_minus_the_mean_entropy() -> None:
    found = score(["0", "31", "2", "0003"], [[0], [1, 2, 3], [2], [3, 3, 1, 0]])
    assert found == pytest.approx(
        [
            -ENTROPY[0],
            -(ENTROPY[1] + ENTROPY[1] + ENTROPY[2]) / 3,
            -ENTROPY[2],
            -(ENTROPY[3] * 3 + ENTROPY[1]) / 4,
        ],
        abs=1e-5,
    )


def test_the_surer_policy_is_rewarded_whatever_the_length() -> None:
    unsure, sure = score(["0", "2"], [[0], [2, 2, 2, 2, 2]])
    assert unsure is not None and sure is not None
    assert sure > unsure
    short, long = score(["0", "0"], [[0], [0, 0, 0]])
    assert short == pytest.approx(long)


def test_messages_are_rendered_as_prompts() -> None:
    assert score([[{"role": "user", "content": "1"}]], [[0]]) == pytest.approx([-ENTROPY[1]], abs=1e-5)


def test_nothing_said_is_unscored() -> None:
    assert score(["0", "0"], [[], [1]])[0] is None


def test_without_a_policy_it_cannot_run() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        TokenEntropy()(["0"], ["a"], [[0]])


def test_of_three_chunks_the_last_counts() -> None:
    """Seven tokens in chunks of three: the last three. Four in chunks of two: the last two. One alone is its own."""
    found = score(
        ["0", "0", "3", "0"],
        [[0, 0, 0, 0, 1, 1, 2], [0, 1, 1, 2], [1], []],
        chunks=3,
    )
    assert found[:3] == pytest.approx(
        [-(ENTROPY[0] + 2 * ENTROPY[1]) / 3, -(ENTROPY[1] + ENTROPY[1]) / 2, -ENTROPY[3]], abs=1e-5
    )
    assert found[3] is None
    assert score(["0"], [[0, 1, 1, 2]], chunks=1) == score(["0"], [[0, 1, 1, 2]])


def test_a_response_without_an_answer_gets_what_the_format_option_says() -> None:
    texts = ["so it is \\boxed{4}", "so it is 4", "\\boxed{}"]
    found = score(["0", "0", "0"], [[1], [1], [1]], texts, answers="boxed", no_answer=-7.0)
    assert found == pytest.approx([-ENTROPY[0], -7, -7], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"chunks": 0}, "chunks=0"), ({"no_answer": -7.0}, "no_answer=-7.0 with answers=none")],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TokenEntropy(**settings)
    with pytest.raises(ValueError, match=named):
        TokenEntropy.check(**settings)

"""Self-certainty by hand, and against whole logits of the four families."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from markov import trainer

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.rewards import SelfCertainty

# KL(uniform || row) = -log 4 - mean of the row's logs
TABLE = torch.tensor(
    [
        [0.25, 0.25, 0.25, 0.25],  # 0
        [0.5, 0.25, 0.125, 0.125],  # (1 + 2 + 3 + 3) / 4 log 2 - 2 log 2 = log(2) / 4
        [0.0625, 0.125, 0.75, 0.0625],
        [0.97, 0.01, 0.01, 0.01],
    ]
)
CERTAINTY = [
    0.0,
    math.log(2) / 4,
    -math.log(4) - (2 * math.log(1 / 16) + math.log(1 / 8) + math.log(3 / 4)) / 4,
    -math.log(4) - (math.log(0.97) + 3 * math.log(0.01)) / 4,
]


def score(table: torch.Tensor, prompts: list[Any], ids: list[list[int]]) -> list[float | None]:
    reward = SelfCertainty()
    reward.bind(trainer(table))
    return reward(prompts, ["text is not read"] * len(prompts), ids)


def test_reward_is_the_mean_divergence_from_uniform() -> None:
    found = score(
        TABLE, ["0", "1", "32", [{"role": "user", "content": "3"}]], [[0], [1, 2, 3], [2], [3, 3, 1, 0]]
    )
    assert found == pytest.approx(
        [
            CERTAINTY[0],
            (CERTAINTY[1] + CERTAINTY[1] + CERTAINTY[2]) / 3,
            CERTAINTY[2],
            (CERTAINTY[3] * 3 + CERTAINTY[1]) / 4,
        ],
        abs=1e-5,
    )


def test_it_goes_on_growing_where_the_entropy_has_nothing_left_to_fall() -> None:
    tails = [torch.tensor([[1 - 3 * tail, tail, tail, tail]]).repeat(4, 1) for tail in (1e-6, 1e-12)]
    low, high = (score(table, ["0"], [[1]])[0] for table in tails)
    assert low is not None and high is not None
    assert high - low == pytest.approx(3 / 4 * math.log(1e6), rel=1e-3)


def test_nothing_said_and_what_is_not_finite_are_unscored() -> None:
    assert score(TABLE, ["0", "0"], [[], [1]])[0] is None
    assert score(torch.full((4, 4), math.nan), ["0"], [[1]]) == [None]


@torch.no_grad()
def test_it_is_the_formula_on_whole_logits(tiny: Callable[..., Checkpoint], family: str) -> None:
    policy = tiny(family)
    prompts, said = ["what is 3 plus 4?", "name two animals."], ["it is 7.", "fox, bear"]
    ids = [chat.response_ids(policy.tokenizer, text) for text in said]
    reward = SelfCertainty()
    reward.bind(
        SimpleNamespace(  # type: ignore[arg-type]
            processing_class=policy.tokenizer,
            model=policy.model,
            accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        )
    )
    expected = []
    for prompt, tail in zip(prompts, ids, strict=True):
        head = chat.prompt_ids(policy.tokenizer, prompt)
        z = policy.model(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1].double()
        expected.append(float((z.logsumexp(-1) - z.mean(-1) - math.log(z.shape[-1])).mean()))
    assert reward(prompts, said, ids) == pytest.approx(expected, abs=1e-4)
    assert min(expected) > 1e-3


def test_without_a_policy_it_cannot_run() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        SelfCertainty()(["0"], ["a"], [[0]])

"""Token entropy under a policy small enough to compute by hand: the next token depends on the last alone."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

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
LOGITS = (TABLE + 1e-30).log()
ENTROPY = [math.log(4), math.log(2), 0.0, -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]


class Markov(torch.nn.Module):
    """A policy with the interface that scoring uses; it keeps no keys and values, so it is scored densely."""

    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int, **_: Any) -> Any:
        return SimpleNamespace(logits=LOGITS[input_ids][:, -logits_to_keep:])

    def get_output_embeddings(self) -> Any:
        return SimpleNamespace(weight=LOGITS.T)

    def get_decoder(self) -> Any:
        one_hot = torch.eye(4)
        return lambda input_ids, **_: SimpleNamespace(last_hidden_state=one_hot[input_ids])

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())


class Digits:
    """A tokenizer of digits without a template."""

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return messages[-1]["content"]

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(c) for c in text]}


def score(prompts: list[Any], ids: list[list[int]]) -> list[float | None]:
    reward = TokenEntropy()
    wrapped, bare = object(), Markov()

    def unwrap_model(model: object) -> Markov:
        assert model is wrapped
        return bare

    trainer: Any = SimpleNamespace(
        processing_class=Digits(), model=wrapped, accelerator=SimpleNamespace(unwrap_model=unwrap_model)
    )
    reward.bind(trainer)
    return reward(prompts, ["text is not read"] * len(prompts), ids)


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

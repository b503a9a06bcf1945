"""The rank of Cross-Model Entropy within a group, by hand on given values and against the verifier's own means."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cme_cases import ENDED, RESPONSES, sampled
from naive import score

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropyRank
from cme.scoring.policy import UntrainedPolicy

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]


def ranked(reward: CrossModelEntropyRank, values: list[float | None]) -> list[float | None]:
    """The rewards of groups of four for given values of Cross-Model Entropy."""
    prompts = [f"prompt {i // 4}" for i in range(len(values))]
    reward.parts = {"cme": lambda *_, **__: values}  # type: ignore[dict-item]
    return reward(prompts, ["c"] * len(values), [[1]] * len(values))


@pytest.fixture
def reward(tiny_folder: Folder) -> CrossModelEntropyRank:
    return CrossModelEntropyRank(str(tiny_folder("qwen")), num_generations=4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-3.0, -1.0, -2.0, -400.0], [0.5, 1.0, 0.75, 0.25]),
        ([-1.0, -2.0, -1.0, -2.0], [0.875, 0.375, 0.875, 0.375]),
        ([-1.0, -1.0, -1.0, -1.0], [0.625] * 4),
        ([-3.0, None, -2.0, None], [0.5, None, 1.0, None]),
        ([None, -7.0, None, None], [None, 1.0, None, None]),
        ([None] * 4, [None] * 4),
        ([-4.0, -3.0, -2.0, -1.0, -1.5, -1.2, -1.1, -1.0], [0.25, 0.5, 0.75, 1.0] * 2),
        ([], []),
    ],
)
def test_ranks_by_hand(
    reward: CrossModelEntropyRank, values: list[float | None], expected: list[float | None]
) -> None:
    assert ranked(reward, values) == expected


def test_the_order_is_that_of_the_mean_log_likelihoods(tiny: Tiny, tiny_folder: Folder) -> None:
    policy, prompts = tiny("llama"), ["name two animals."] * 4
    for verifier in ("gemma", "olmo"):
        made = CrossModelEntropyRank(str(tiny_folder(verifier)), num_generations=4, score_end_of_turn=True)
        with pytest.raises(RuntimeError, match="bind"):
            made(prompts, RESPONSES, [[1]] * 4)
        made.bind(UntrainedPolicy(policy.tokenizer, policy.model))
        found = made(prompts, RESPONSES, sampled(policy, RESPONSES, ENDED))
        means = [score(tiny(verifier), *row).mean for row in zip(prompts, RESPONSES, ENDED, strict=True)]
        assert found == [(sorted(means).index(mean) + 1) / 4 for mean in means]


def test_the_settings_are_those_of_cross_model_entropy(tiny_folder: Folder) -> None:
    settings: dict[str, Any] = {"dtype": "bfloat16", "max_prompt_tokens": 3, "max_response_tokens": 4}
    made = CrossModelEntropyRank(str(tiny_folder("qwen")), num_generations=4, **settings)
    assert {name: getattr(vars(made.parts["cme"])["settings"], name) for name in settings} == settings


def test_incomplete_groups_and_other_settings_are_refused(
    reward: CrossModelEntropyRank, tiny_folder: Folder
) -> None:
    with pytest.raises(ValueError, match=r"3 completions .* groups of 4"):
        reward(["p"] * 3, RESPONSES[:3], [[1]] * 3)
    with pytest.raises(TypeError, match="pmi"):
        settings: dict[str, Any] = {"pmi": True}
        CrossModelEntropyRank(str(tiny_folder("qwen")), num_generations=4, **settings)
    with pytest.raises(ValueError, match="batch_tokens=0"):
        CrossModelEntropyRank.check(verifier="x", num_generations=4, batch_tokens=0)

"""Best-of-n: which response is chosen, and how the reward is called."""

import math
from typing import Any

import pytest
from plain_rewards import FunctionReward
from verifiers import Tiny

from cme import TrainingFailed
from cme.evaluation.best_of_n import Sample, best_response, sample_with_rewards
from cme.miniature import world
from cme.models import chat
from cme.records import Generation
from cme.rewards import TokenEntropy
from cme.scoring.token_scorer import TokenScorer

PROMPTS = world.load_prompts("train", 6, 0)
SAMPLING = {"temperature": 1.0, "max_new_tokens": 6, "batch_size": 5}


def group(*rewards: float | None) -> list[Sample]:
    return [Sample(Generation(f"response {i}", True, 1), r) for i, r in enumerate(rewards)]


@pytest.mark.parametrize(
    ("rewards", "chosen"),
    [
        ((-3.0, -1.0, -2.0), 1),
        ((-3.0, None, -7.0), 0),
        ((None, -5.0, -2.0), 2),
        ((1.0, 2.0, 2.0), 1),
        ((None, None), 0),
    ],
)
def test_the_highest_reward_is_chosen(rewards: tuple[float | None, ...], chosen: int) -> None:
    assert best_response(group(*rewards)).response == f"response {chosen}"


def test_the_reward_is_called_as_in_training(tiny: Tiny) -> None:
    call: dict[str, Any] = {}

    def reward(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float | None]:
        call.update(columns, prompts=prompts, completions=completions, ids=completion_ids)
        return [float(i) for i in range(len(prompts))]

    start = tiny("qwen")
    groups = sample_with_rewards(start, PROMPTS, FunctionReward(reward), 4, seed=0, **SAMPLING)
    assert [len(g) for g in groups] == [4] * 6
    assert [chat.to_text(p) for p in call["prompts"]] == [p.text for p in PROMPTS for _ in range(4)]
    assert call["answer"] == [p.answer for p in PROMPTS for _ in range(4)]
    rows = [s for g in groups for s in g]
    assert [s.reward for s in rows] == [float(i) for i in range(24)]
    assert [s.generation.response for s in rows] == [chat.to_text(c) for c in call["completions"]]
    assert [s.generation.tokens for s in rows] == [len(ids) for ids in call["ids"]]
    assert all(len({s.generation.response for s in g}) > 1 for g in groups), "the samples of a prompt differ"
    assert sample_with_rewards(start, PROMPTS, FunctionReward(reward), 4, seed=0, **SAMPLING) == groups
    assert sample_with_rewards(start, PROMPTS, FunctionReward(reward), 4, seed=1, **SAMPLING) != groups


def test_the_untrained_model_takes_the_place_of_the_policy(tiny: Tiny) -> None:
    start, seen = tiny("llama"), []

    class Watched(TokenEntropy):
        def __call__(self, *args: Any, **columns: Any) -> list[float | None]:
            seen.append(args)
            return super().__call__(*args, **columns)

    groups = sample_with_rewards(start, PROMPTS, Watched(), 2, seed=0, **SAMPLING)
    prompts, _, ids = seen[0]
    heads = [chat.prompt_ids(start.tokenizer, p) for p in prompts]
    scored = TokenScorer(start.model).score(heads, ids, entropy=True)
    expected = [-float(s.entropies.mean()) for s in scored]
    assert [s.reward for g in groups for s in g] == pytest.approx(expected)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused(tiny: Tiny, broken: float) -> None:
    def reward(prompts: Any, *_: Any, **__: Any) -> list[float | None]:
        return [broken, *[0.0] * (len(prompts) - 1)]

    with pytest.raises(TrainingFailed, match=f"reward 'reward' gave {broken} for 1 of 12 samples"):
        sample_with_rewards(tiny("olmo"), PROMPTS, FunctionReward(reward), 2, seed=0, **SAMPLING)

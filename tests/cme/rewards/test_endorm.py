"""The endogenous reward by hand, and against whole logits in float64 read as a soft Q-function."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cme_cases import ENDED, PROMPTS, RESPONSES, break_verifier, near, sampled
from naive import score

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.rewards import EndogenousReward
from cme.rewards.cross_model.endorm import endogenous_rewards
from cme.scoring.policy import UntrainedPolicy
from cme.training.advantages import sequence_advantages

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]


def bound(folder: Folder, policy: Checkpoint, verifier: str, **settings: Any) -> EndogenousReward:
    reward = EndogenousReward(str(folder(verifier)), score_end_of_turn=True, **settings)
    reward.bind(UntrainedPolicy(policy.tokenizer, policy.model))
    return reward


@torch.no_grad()
def soft_bellman(model: Checkpoint, prompt: str, response: str, end: bool) -> list[float]:
    """Q(s_t, y_t) - V(s_t+1), with Q the logits and V = 0 behind the last token."""
    head = chat.prompt_ids(model.tokenizer, prompt)
    ids = chat.response_ids(model.tokenizer, response) + [model.tokenizer.eos_token_id] * end
    logits = model.model(input_ids=torch.tensor([[*head, *ids]])).logits[0, len(head) - 1 : -1].double()
    following = [*logits.exp().sum(-1).log().tolist()[1:], 0.0]
    return [float(row[token]) - v for row, token, v in zip(logits, ids, following, strict=True)]


def test_rewards_per_token_by_hand() -> None:
    found = endogenous_rewards(torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([3.0, 2.5, 4.0]))
    assert found.tolist() == [-0.5, -3.5, 3.5]
    assert float(found.sum()) == -3.5 + 3.0, "the total log-likelihood plus the first normalizer"
    assert endogenous_rewards(torch.empty(0), torch.empty(0)).tolist() == []


def test_the_reward_is_the_sum_of_inverse_bellman_rewards(
    tiny: Tiny, tiny_folder: Folder, family: str
) -> None:
    verifier = tiny(family)
    reward = bound(tiny_folder, tiny("qwen"), family)
    found = reward(PROMPTS, RESPONSES, sampled(tiny("qwen"), RESPONSES, ENDED))
    each = [soft_bellman(verifier, *row) for row in zip(PROMPTS, RESPONSES, ENDED, strict=True)]
    assert found == near([sum(values) for values in each], 1e-3)
    naive = [score(verifier, *row) for row in zip(PROMPTS, RESPONSES, ENDED, strict=True)]
    assert found == near([one.total + one.normalizers[0] for one in naive], 1e-3)


def test_tokens_get_their_own_rewards(tiny: Tiny, tiny_folder: Folder) -> None:
    policy = tiny("llama")
    reward = bound(tiny_folder, policy, "llama", granularity="token", alignment="sum")
    ids = sampled(policy, RESPONSES, ENDED)
    rewards = reward(PROMPTS, RESPONSES, ids)
    for found, total, *row in zip(reward.token_values, rewards, PROMPTS, RESPONSES, ENDED, strict=True):
        assert found.tolist() == near(soft_bellman(policy, *row), 1e-3)
        assert float(found.sum()) == pytest.approx(total, abs=1e-3)


def test_advantages_are_those_of_the_total_log_likelihood(tiny: Tiny, tiny_folder: Folder) -> None:
    prompts, verifier = [PROMPTS[1]] * 4, tiny("olmo")
    reward = bound(tiny_folder, tiny("qwen"), "olmo")
    found = reward(prompts, RESPONSES, sampled(tiny("qwen"), RESPONSES, ENDED))
    totals = [score(verifier, *row).total for row in zip(prompts, RESPONSES, ENDED, strict=True)]
    means = [score(verifier, *row).mean for row in zip(prompts, RESPONSES, ENDED, strict=True)]

    def advantages(values: Any) -> list[float]:
        return sequence_advantages(torch.tensor(values), 4, floor=0.0, scale=True).tolist()

    assert advantages(found) == near(advantages(totals), 1e-3)
    assert advantages(found) != near(advantages(means), 1e-1)


def test_what_cannot_be_scored_has_no_reward(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = bound(tiny_folder, tiny("qwen"), "gemma")
    assert reward(PROMPTS[:1], [""], [[]]) == [None]
    break_verifier(reward)
    ids = sampled(tiny("qwen"), RESPONSES, ENDED)
    assert reward(PROMPTS, RESPONSES, ids) == [None] * 4


@pytest.mark.parametrize("settings", [{"server": {}}, {"pmi": True}, {"clip": [0, 1]}])
def test_other_settings_of_cross_model_entropy_are_refused(
    tiny_folder: Folder, settings: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=next(iter(settings))):
        EndogenousReward(str(tiny_folder("qwen")), **settings)

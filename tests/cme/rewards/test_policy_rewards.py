"""Rewards of the policy's own distributions: by hand under a Markov policy, and against the families' whole logits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import pytest
import torch
from cme_cases import sampled
from markov import trainer

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropy, ReverseKL, Reward, SelfCertainty, TokenEntropy
from cme.scoring.policy import UntrainedPolicy

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
# rows: last token; columns: probability of the next
TABLE = torch.tensor(
    [
        [0.25, 0.25, 0.25, 0.25],
        [0.5, 0.5, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.75, 0.25],
    ]
)
ENTROPY = [math.log(4), math.log(2), 0.0, -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]
POSITIVE = torch.tensor(
    [
        [0.25, 0.25, 0.25, 0.25],
        [0.5, 0.25, 0.125, 0.125],
        [0.0625, 0.125, 0.75, 0.0625],
        [0.97, 0.01, 0.01, 0.01],
    ]
)
CERTAINTY = [
    -math.log(4) - sum(math.log(p) for p in row) / 4 for row in POSITIVE.tolist()
]  # KL(uniform || row)
PROMPTS, RESPONSES, ENDED = (
    ["what is 3 plus 4?", "name two animals."],
    ["it is 7.", "fox, bear"],
    [True, False],
)


def call(reward: Reward, table: torch.Tensor, prompts: list[Any], ids: list[list[int]]) -> list[float | None]:
    reward.bind(trainer(table))
    return reward(prompts, ["the text does not matter"] * len(prompts), ids)


def bound(reward: Reward, policy: Checkpoint) -> Reward:
    reward.bind(UntrainedPolicy(policy.tokenizer, policy.model))
    return reward


def naive_scores(model: Checkpoint) -> list[naive.Scores]:
    return [naive.score(model, p, r, e) for p, r, e in zip(PROMPTS, RESPONSES, ENDED, strict=True)]


@pytest.mark.parametrize(
    ("reward", "table", "of_row"),
    [(TokenEntropy, TABLE, [-h for h in ENTROPY]), (SelfCertainty, POSITIVE, CERTAINTY)],
)
def test_the_reward_is_a_mean_over_the_sampled_tokens(
    reward: type[Reward], table: torch.Tensor, of_row: list[float]
) -> None:
    prompts = ["0", "31", "2", [{"role": "user", "content": "3"}], "0"]
    found = call(reward(), table, prompts, [[0], [1, 2, 3], [2], [3, 3, 1, 0], []])
    expected = [
        of_row[0],
        (of_row[1] + of_row[1] + of_row[2]) / 3,
        of_row[2],
        (3 * of_row[3] + of_row[1]) / 4,
    ]
    assert found[:4] == pytest.approx(expected, abs=1e-5)
    assert found[4] is None, "no token, no value"


@pytest.mark.parametrize("reward", [TokenEntropy, SelfCertainty])
def test_the_reward_is_the_formula_on_whole_logits(tiny: Tiny, family: str, reward: type[Reward]) -> None:
    policy = tiny(family)
    expected = [
        -sum(one.entropies) / len(one.ids) if reward is TokenEntropy else sum(one.certainties) / len(one.ids)
        for one in naive_scores(policy)
    ]
    found = bound(reward(), policy)(PROMPTS, RESPONSES, sampled(policy, RESPONSES, ENDED))
    assert found == pytest.approx(expected, abs=1e-4)
    assert min(map(abs, expected)) > 1e-3


def test_self_certainty_has_no_upper_bound_and_needs_finite_logits() -> None:
    tails = [torch.tensor([[1 - 3 * tail, tail, tail, tail]]).repeat(4, 1) for tail in (1e-6, 1e-12)]
    low, high = (call(SelfCertainty(), table, ["0"], [[1]])[0] for table in tails)
    assert low is not None and high is not None
    assert high - low == pytest.approx(3 / 4 * math.log(1e6), rel=1e-3)
    assert call(SelfCertainty(), torch.full((4, 4), math.nan), ["0"], [[1]]) == [None]


def test_the_last_of_three_chunks_counts() -> None:
    """Seven tokens in chunks of three: the last three. Four in chunks of two: the last two. A single one: itself."""
    ids = [[0, 0, 0, 0, 1, 1, 2], [0, 1, 1, 2], [1], []]
    found = call(TokenEntropy(chunks=3), TABLE, ["0", "0", "3", "0"], ids)
    expected = [-(ENTROPY[0] + 2 * ENTROPY[1]) / 3, -(ENTROPY[1] + ENTROPY[1]) / 2, -ENTROPY[3]]
    assert found[:3] == pytest.approx(expected, abs=1e-5)
    assert found[3] is None


def test_a_response_without_an_answer_gets_the_reward_of_the_format_option() -> None:
    reward = TokenEntropy(answers="boxed", no_answer=-7.0)
    reward.bind(trainer(TABLE))
    found = reward(["0"] * 3, ["so it is \\boxed{4}", "so it is 4", "\\boxed{}"], [[1]] * 3)
    assert found == pytest.approx([-ENTROPY[0], -7, -7], abs=1e-5)


@pytest.mark.parametrize(("policy", "verifier"), [("qwen", "gemma"), ("llama", "olmo"), ("gemma", "gemma")])
def test_reverse_kl_is_the_verifiers_mean_minus_the_policys(
    tiny: Tiny, tiny_folder: Folder, policy: str, verifier: str
) -> None:
    own, other = naive_scores(tiny(policy)), naive_scores(tiny(verifier))
    reward = bound(ReverseKL(str(tiny_folder(verifier)), score_end_of_turn=True), tiny(policy))
    expected = [q.mean - p.mean for q, p in zip(other, own, strict=True)]
    assert reward(PROMPTS, RESPONSES, sampled(tiny(policy), RESPONSES, ENDED)) == pytest.approx(
        expected, abs=1e-4
    )
    if policy == verifier:
        assert expected == pytest.approx([0, 0], abs=1e-4)
    else:
        assert max(map(abs, expected)) > 1e-2


def test_reverse_kl_follows_the_policy_as_it_changes(tiny: Tiny, tiny_folder: Folder) -> None:
    policy, place = tiny("llama"), str(tiny_folder("llama"))
    ids = sampled(policy, RESPONSES, ENDED)
    reward = bound(ReverseKL(place, score_end_of_turn=True), policy)
    assert reward(PROMPTS, RESPONSES, ids) == pytest.approx([0, 0], abs=1e-4)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    q = bound(CrossModelEntropy(place, score_end_of_turn=True), policy)(PROMPTS, RESPONSES, ids)
    expected = [a - p.mean for a, p in zip(q, naive_scores(policy), strict=True) if a is not None]
    assert reward(PROMPTS, RESPONSES, ids) == pytest.approx(expected, abs=1e-3)
    assert max(map(abs, expected)) > 1e-2


def test_reverse_kl_leaves_unscored_what_either_model_cannot_score(tiny: Tiny, tiny_folder: Folder) -> None:
    policy = tiny("qwen")
    reward = bound(ReverseKL(str(tiny_folder("qwen"))), policy)  # the end of turn is not scored
    ids = [[policy.tokenizer.eos_token_id], sampled(policy, RESPONSES, ENDED)[1]]
    first, second = reward(PROMPTS, ["", RESPONSES[1]], ids)
    assert first is None and second is not None
    with pytest.raises(ValueError, match="verifier="):
        ReverseKL(["a", "b"])  # type: ignore[arg-type]


@pytest.mark.parametrize("reward", [TokenEntropy, SelfCertainty, ReverseKL])
def test_a_reward_of_the_policy_needs_it(tiny_folder: Folder, reward: Callable[..., Reward]) -> None:
    made = reward(str(tiny_folder("qwen"))) if reward is ReverseKL else reward()
    with pytest.raises(RuntimeError, match="bind"):
        made(["0"], ["a"], [[0]])

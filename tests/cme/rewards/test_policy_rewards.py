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
from cme.rewards import CrossModelEntropy, ReverseKL, Reward, SelfCertainty, SequenceLikelihood, TokenEntropy
from cme.rewards.cross_model.reverse_kl import box_cox
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


def test_the_likelihood_of_a_sequence_by_hand() -> None:
    ids = [[0, 1, 1], [2, 2, 3], [0], []]
    products = [0.25 * 0.25 * 0.5, 0.75 * 0.0 * 0.0, 1.0]
    prompts = ["0", [{"role": "user", "content": "13"}], "2", "0"]
    found = call(SequenceLikelihood(), TABLE, prompts, ids)
    assert found[0] == pytest.approx(math.log(products[0]), abs=1e-5)
    assert found[1] is not None and found[1] < -60, "the table has 1e-30 for an impossible token"
    assert found[2:] == [pytest.approx(0.0, abs=1e-5), None]
    found = call(SequenceLikelihood("probability"), TABLE, prompts, ids)
    assert found == [*(pytest.approx(p, abs=1e-6) for p in products), None]


def test_the_likelihood_of_a_sequence_is_a_sum_over_its_tokens(tiny: Tiny, family: str) -> None:
    policy = tiny(family)
    ids = sampled(policy, RESPONSES, ENDED)
    totals = [one.total for one in naive_scores(policy)]
    assert bound(SequenceLikelihood(), policy)(PROMPTS, RESPONSES, ids) == pytest.approx(totals, rel=1e-4)
    found = bound(SequenceLikelihood("probability"), policy)(PROMPTS, RESPONSES, ids)
    assert found == pytest.approx([math.exp(total) for total in totals], rel=1e-3)


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


@pytest.mark.parametrize("power", [0.1, 0.5])
def test_powers_of_probabilities_bound_reverse_kl(tiny: Tiny, tiny_folder: Folder, power: float) -> None:
    own, other = naive_scores(tiny("qwen")), naive_scores(tiny("gemma"))
    reward = bound(ReverseKL(str(tiny_folder("gemma")), score_end_of_turn=True, power=power), tiny("qwen"))

    def mean(one: naive.Scores) -> float:
        return sum((math.exp(v) ** power - 1) / power for v in one.values) / len(one.values)

    expected = [mean(q) - mean(p) for q, p in zip(other, own, strict=True)]
    found = reward(PROMPTS, RESPONSES, sampled(tiny("qwen"), RESPONSES, ENDED))
    assert found == pytest.approx(expected, abs=1e-6) and max(map(abs, expected)) > 1e-4


def test_powers_by_hand() -> None:
    """Probabilities 1, 1/2 and 1e-30: 0, (1/8 - 1) / 3 and almost -1/3; their logarithms for power 0."""
    logs = torch.tensor([0.0, math.log(0.5), math.log(1e-30)])
    assert box_cox(logs, 3.0).tolist() == pytest.approx([0, -7 / 24, -1 / 3])
    assert box_cox(logs, 1e-4).tolist()[:2] == pytest.approx([0, math.log(0.5)], abs=1e-4)
    assert box_cox(logs, 0.0).tolist() == logs.tolist()


def test_special_tokens_count_in_neither_mean_if_masked(tiny: Tiny, tiny_folder: Folder) -> None:
    policy = tiny("qwen")
    reward = bound(ReverseKL(str(tiny_folder("gemma")), mask_special=True), policy)
    ids = sampled(policy, RESPONSES, ENDED)
    without_end = [
        [naive.score(model, p, r).mean for p, r in zip(PROMPTS, RESPONSES, strict=True)]
        for model in (tiny("gemma"), policy)
    ]
    expected = [q - p for q, p in zip(*without_end, strict=True)]
    assert reward(PROMPTS, RESPONSES, ids) == pytest.approx(expected, abs=1e-4)
    unmasked = bound(ReverseKL(str(tiny_folder("gemma"))), policy)(PROMPTS, RESPONSES, ids)
    assert unmasked[0] != pytest.approx(expected[0], abs=1e-3), "the policy ended the first response"
    assert unmasked[1] == pytest.approx(expected[1], abs=1e-4)
    end = policy.tokenizer.eos_token_id
    assert reward(PROMPTS, ["", RESPONSES[1]], [[end], ids[1]])[0] is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"power": -1.0}, "power=-1"), ({"mask_special": True, "score_end_of_turn": True}, "mask_special=true")],
)
def test_variants_of_reverse_kl_are_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ReverseKL.check(verifier="x", **settings)


@pytest.mark.parametrize("reward", [TokenEntropy, SelfCertainty, SequenceLikelihood, ReverseKL])
def test_a_reward_of_the_policy_needs_it(tiny_folder: Folder, reward: Callable[..., Reward]) -> None:
    made = reward(str(tiny_folder("qwen"))) if reward is ReverseKL else reward()
    with pytest.raises(RuntimeError, match="bind"):
        made(["0"], ["a"], [[0]])

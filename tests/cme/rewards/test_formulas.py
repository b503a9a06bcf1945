"""Rewards with one number per response, each against its formula on whole logits in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cme_cases import ENDED, PROMPTS, RESPONSES, mean, sampled
from naive import Scores, score
from verifiers import Folder, Tiny

from cme.checkpoints import Checkpoint
from cme.rewards import (
    CrossModelEntropy,
    CrossModelEntropyRank,
    EndogenousReward,
    ReverseKL,
    Reward,
    SelfCertainty,
    SequenceLikelihood,
    TokenEntropy,
)
from cme.rewards.cross_model import pooling
from cme.rewards.cross_model.reverse_kl import box_cox
from cme.scoring.policy import UntrainedPolicy
from cme.scoring.verifier import Score

END: dict[str, Any] = {"score_end_of_turn": True}


def powered(one: Scores, power: float = 0.5) -> float:
    return mean([(math.exp(v) ** power - 1) / power for v in one.values])


def without_end(one: Scores) -> float:
    return mean([v for v, (start, end) in zip(one.values, one.spans, strict=True) if end > start])


FORMULAS: dict[str, tuple[Callable[[str], Reward], Callable[[Scores, Scores], float]]] = {
    "cme": (lambda verifier: CrossModelEntropy(verifier, **END), lambda q, p: q.mean),
    "reverse_kl": (lambda verifier: ReverseKL(verifier, **END), lambda q, p: q.mean - p.mean),
    "power": (
        lambda verifier: ReverseKL(verifier, power=0.5, **END),
        lambda q, p: powered(q) - powered(p),
    ),
    "mask_special": (
        lambda verifier: ReverseKL(verifier, mask_special=True),
        lambda q, p: without_end(q) - without_end(p),
    ),
    "endorm": (lambda verifier: EndogenousReward(verifier, **END), lambda q, p: q.total + q.normalizers[0]),
    "token_entropy": (lambda _: TokenEntropy(), lambda q, p: -mean(p.entropies)),
    "chunks": (
        lambda _: TokenEntropy(chunks=3),
        lambda q, p: -mean(p.entropies[-math.ceil(len(p.entropies) / 3) :]),
    ),
    "self_certainty": (lambda _: SelfCertainty(), lambda q, p: mean(p.certainties)),
    "log_probability": (lambda _: SequenceLikelihood(), lambda q, p: p.total),
    "probability": (lambda _: SequenceLikelihood("probability"), lambda q, p: math.exp(p.total)),
}
"""A reward from its verifier's folder, and its formula from the scores under verifier (q) and policy (p)."""


def bound(reward: Reward, policy: Checkpoint) -> Reward:
    reward.bind(UntrainedPolicy(policy.tokenizer, policy.model))
    return reward


def test_the_reward_is_its_formula(tiny: Tiny, tiny_folder: Folder, family: str) -> None:
    policy, verifier, folder = tiny("llama"), tiny(family), str(tiny_folder(family))
    ids = sampled(policy, RESPONSES, ENDED)
    rows = list(zip(PROMPTS, RESPONSES, ENDED, strict=True))
    under = [(score(verifier, *row), score(policy, *row)) for row in rows]
    for name, (build, formula) in FORMULAS.items():
        expected = [formula(q, p) for q, p in under]
        tolerance = {"rel": 1e-2, "abs": 0.0} if name == "probability" else {"rel": 1e-3, "abs": 1e-4}
        found = bound(build(folder), policy)(PROMPTS, RESPONSES, ids)
        assert found == pytest.approx(expected, **tolerance), name
    means = [score(verifier, PROMPTS[1], *row[1:]).mean for row in rows]
    ranked = bound(CrossModelEntropyRank(folder, num_generations=4, **END), policy)
    found = ranked([PROMPTS[1]] * 4, RESPONSES, ids)
    assert found == [(sorted(means).index(value) + 1) / 4 for value in means]


def test_powers_by_hand() -> None:
    """Probabilities 1, 1/2 and 1e-30: 0, (1/8 - 1) / 3 and almost -1/3; their logarithms in the limit of power 0."""
    logs = torch.tensor([0.0, math.log(0.5), math.log(1e-30)])
    assert box_cox(logs, 3.0).tolist() == pytest.approx([0, -7 / 24, -1 / 3])
    assert box_cox(logs, 1e-4).tolist()[:2] == pytest.approx([0, math.log(0.5)], abs=1e-4)
    assert box_cox(logs, 0.0).tolist() == logs.tolist()


def test_an_answer_has_the_tokens_that_overlap_it() -> None:
    """Tokens of three, six and three characters and an end of turn."""
    score = Score(
        torch.zeros(4), torch.empty(0), [(0, 3), (3, 9), (9, 12), (12, 12)], False, False, False, None
    )
    for span, inside in {
        (0, 12): [True, True, True, False],
        (3, 9): [False, True, False, False],
        (4, 5): [False, True, False, False],  # within a token
        (2, 4): [True, True, False, False],
        (3, 3): [False] * 4,
        (12, 20): [False] * 4,
    }.items():
        assert pooling.span_mask(score, *span).tolist() == inside, span


def test_reverse_kl_follows_the_policy_as_it_changes(tiny: Tiny, tiny_folder: Folder) -> None:
    policy = tiny("llama")
    reward = bound(ReverseKL(str(tiny_folder("llama")), **END), policy)
    ids = sampled(policy, RESPONSES, ENDED)
    rows = list(zip(PROMPTS, RESPONSES, ENDED, strict=True))
    assert reward(PROMPTS, RESPONSES, ids) == pytest.approx([0] * 4, abs=1e-4)
    before = [score(policy, *row).mean for row in rows]
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    expected = [q - score(policy, *row).mean for q, row in zip(before, rows, strict=True)]
    assert reward(PROMPTS, RESPONSES, ids) == pytest.approx(expected, abs=1e-3)
    assert max(map(abs, expected)) > 1e-2


def test_a_response_without_an_answer_gets_the_reward_of_the_format_option(tiny: Tiny) -> None:
    policy, texts = tiny("llama"), ["so it is \\boxed{4}", "so it is 4", "\\boxed{}"]
    ids = sampled(policy, texts, [True] * 3)
    plain, with_format = (
        bound(reward, policy)(PROMPTS[:3], texts, ids)
        for reward in (TokenEntropy(), TokenEntropy(answers="boxed", no_answer=-7.0))
    )
    assert with_format == [plain[0], -7, -7]


@pytest.mark.parametrize("reward", [TokenEntropy, SelfCertainty, SequenceLikelihood, ReverseKL])
def test_a_reward_of_the_policy_needs_it(tiny_folder: Folder, reward: Callable[..., Reward]) -> None:
    made = reward(str(tiny_folder("qwen"))) if reward is ReverseKL else reward()
    with pytest.raises(RuntimeError, match="bind"):
        made(["0"], ["a"], [[0]])

"""The likelihood of the gold answer behind a response's reasoning, against whole logits in float64."""

import math
from typing import Any

import pytest
from naive import score
from verifiers import Tiny

from cme.checkpoints import Checkpoint
from cme.rewards import ReferenceLikelihood
from cme.scoring.policy import UntrainedPolicy

PROMPT = "what is 3 plus 4?"


def call(
    policy: Checkpoint, texts: list[str], golds: list[str | None], **settings: Any
) -> list[float | None]:
    reward = ReferenceLikelihood(**{"answers": "number"} | settings)
    reward.bind(UntrainedPolicy(policy.tokenizer, policy.model))
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    return reward([PROMPT] * len(texts), completions, [[1]] * len(texts), answer=golds)


def answer_values(policy: Checkpoint, reasoning: str, gold: str) -> list[float]:
    """Log-probabilities of the tokens that have a character of the gold answer."""
    one = score(policy, PROMPT, reasoning + gold)
    return [value for value, (_, end) in zip(one.values, one.spans, strict=True) if end > len(reasoning)]


CASES = [
    ("number", "it is 7.", "it is ", "12"),
    ("number", "3 plus 4 is 7 and then 12 for sure", "3 plus 4 is 7 and then ", "5"),
    ("number", "the fox", "the fox ", "12"),
    ("number", "", "", "12"),
    ("number", "it is 7.", "it is ", "12.0"),
    ("boxed", "so it is \\boxed{7}.", "so it is \\boxed{", "12"),
    ("boxed", "so it is 7. ", "so it is 7. ", "12"),
]


@pytest.mark.parametrize(("answers", "text", "reasoning", "gold"), CASES)
def test_the_answer_is_replaced_by_the_gold_answer(
    tiny: Tiny, answers: str, text: str, reasoning: str, gold: str
) -> None:
    policy = tiny("qwen")
    values = answer_values(policy, reasoning, "12" if gold == "12.0" else gold)
    expected = {
        "log_probability": sum(values),
        "probability": math.exp(sum(values)),
        "mean_probability": sum(map(math.exp, values)) / len(values),
    }
    for value, one in expected.items():
        found = call(policy, [text], [gold], answers=answers, value=value)
        assert found == [pytest.approx(one, rel=1e-3, abs=1e-9)], value


def test_the_families_tokens_and_several_responses(tiny: Tiny, family: str) -> None:
    policy = tiny(family)
    texts = ["it is 7", "first 8 then 9", "it is 7"]
    found = call(policy, texts, ["5", "5", "12"])
    totals = [
        sum(answer_values(policy, *row))
        for row in (("it is ", "5"), ("first 8 then ", "5"), ("it is ", "12"))
    ]
    assert found == pytest.approx(totals, rel=1e-3) and len({round(t, 2) for t in totals}) == 3


def test_without_a_gold_answer_there_is_no_reward(tiny: Tiny) -> None:
    found = call(tiny("qwen"), ["it is 7"] * 3, [None, "no number", "7"])
    assert found[:2] == [None, None] and found[2] is not None
    assert call(tiny("qwen"), ["it is 7"], [None]) == [None]
    with pytest.raises(ValueError, match="column `answer`"):
        ReferenceLikelihood("number")([PROMPT], ["7"], [[1]])
    with pytest.raises(RuntimeError, match="bind"):
        ReferenceLikelihood("number")([PROMPT], ["7"], [[1]], answer=["7"])


def test_a_text_beyond_the_context_has_no_reward(tiny: Tiny) -> None:
    assert call(tiny("qwen"), ["owl " * 2000 + "7"], ["7"]) == [None]


def test_only_the_reasoning_counts(tiny: Tiny) -> None:
    right, wrong, longer = call(tiny("qwen"), ["it is 5", "it is 9", "it is 9, or so."], ["5"] * 3)
    assert right == wrong == longer

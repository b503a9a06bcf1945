"""Graded answers match their grades by the oracle; rewards are called as TRL calls them."""

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_rewards import FunctionReward
from verifiers import Tiny

from cme.data import instructions
from cme.evaluation.reward_probe import GRADES, CachedEngine, GradedAnswer, graded_answers
from cme.evaluation.reward_probe import score_answers as score
from cme.miniature import world
from cme.miniature.problems import BOILERPLATE
from cme.models import chat
from cme.records import Prompt
from cme.scoring.token_scorer import TokenScores


def by_prompt(answers: list[GradedAnswer]) -> list[dict[str, GradedAnswer]]:
    groups = [answers[i : i + len(GRADES)] for i in range(0, len(answers), len(GRADES))]
    for group in groups:
        assert [a.grade for a in group] == list(GRADES)
        assert len({a.prompt.id for a in group}) == 1
    return [{a.grade: a for a in group} for group in groups]


@pytest.mark.parametrize(("seed", "count"), [(0, 60), (1, 12), (2, 180)])
def test_in_the_world_the_oracle_grades_the_right_answer_1_and_all_others_lower(
    seed: int, count: int
) -> None:
    """The wrong answer is of the prompt's kind, and all words are known but those of the refusal."""
    rng = random.Random(0)
    texts = [text for p in world.problems() for text in (*p.wordings, p.complete(rng), BOILERPLATE)]
    known = set(re.findall(r"\w+", " ".join(texts)))
    groups = by_prompt(graded_answers(world.load_prompts("eval", count, 0), seed))
    assert len(groups) == count
    rights = {(world.problem_of(g["right"].prompt.text).kind, g["right"].text) for g in groups}
    for group in groups:
        written = [a.text for g, a in group.items() if g not in ("refusal", "truncated")]
        assert set(re.findall(r"\w+", " ".join(written))) <= known
        if count == 60:
            assert (world.problem_of(group["wrong"].prompt.text).kind, group["wrong"].text) in rights
        quality = {g: world.grade(a.prompt.text, a.text, a.finished).quality for g, a in group.items()}
        assert quality.pop("right") == 1
        assert max(quality.values()) < 1, (group["right"].prompt.text, quality)
        assert quality["empty"] == quality["refusal"] == quality["boilerplate"] == 0


@pytest.mark.parametrize("make", [instructions.load_prompts, world.load_prompts])
def test_answers_match_their_grades(make: Callable[..., list[Prompt]]) -> None:
    prompts = make("eval", 24, 0)
    groups = by_prompt(graded_answers(prompts, 0))
    rights = {group["right"].text for group in groups}
    for prompt, group in zip(prompts, groups, strict=True):
        right = group["right"].text
        assert prompt.reference in (right, None)
        assert group["empty"].text == ""
        [word] = set(group["repeated word"].text.split())
        assert len(group["repeated word"].text.split()) == 10 and word in right.lower()
        assert group["prompt copied"].text == prompt.text
        assert right.startswith(group["truncated"].text)
        assert 0.3 * len(right) - 1 < len(group["truncated"].text) <= len(right) / 2
        assert group["verbose"].text.startswith(f"{right} ")
        assert group["wrong"].text in rights - {right}
        unfinished = {g for g, a in group.items() if not a.finished}
        assert unfinished == {"repeated word", "truncated"}
    for stock in ("refusal", "boilerplate"):
        assert len({group[stock].text for group in groups}) == 1


def test_answers_depend_on_the_seed_but_right_ones_not_on_other_prompts() -> None:
    prompts = world.load_prompts("eval", 60, 0)
    assert graded_answers(prompts, 1) == graded_answers(prompts, 1) != graded_answers(prompts, 2)
    some = {a.prompt.id: a for a in graded_answers(prompts[:30], 1) if a.grade == "right"}
    every = {a.prompt.id: a for a in graded_answers(prompts, 1) if a.grade == "right"}
    assert some.items() <= every.items()


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        ([Prompt("a", "Why?", reference="So."), Prompt("b", "How?")], "'b' has no reference answer"),
        ([Prompt("a", "Why?", reference="...")], "'a' has no reference answer"),
        ([Prompt("a", "Why?", reference="So.")], "wrong for prompt 'a'"),
        ([Prompt(i, "Why?", reference="So.") for i in "ab"], "wrong for prompt 'a'"),
    ],
)
def test_prompts_without_a_right_or_a_wrong_answer_are_refused(prompts: list[Prompt], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        graded_answers(prompts, 0)


def test_rewards_are_called_with_whole_groups_of_the_starts_own_tokens(tiny: Tiny) -> None:
    start = tiny("qwen")
    answers = graded_answers(world.load_prompts("eval", 12, 0), 0)
    seen: dict[str, Any] = {}

    def reward(
        prompts: Any, completions: Any, completion_ids: Any, log_metric: Any, **columns: Any
    ) -> list[float | None]:
        seen.update(prompts=prompts, ids=completion_ids, answer=columns["answer"])
        log_metric("x", 0.0)
        return [None if not chat.to_text(c) else float(i) for i, c in enumerate(completions)]

    values = score({"mine": FunctionReward(reward)}, answers, start)["mine"]
    assert list(values) == list(GRADES)
    assert values["empty"] == [None] * 12
    assert values["right"] == [float(9 * i + 8) for i in range(12)]
    for i in range(0, len(answers), 9):
        assert all(p == seen["prompts"][i] for p in seen["prompts"][i : i + 9])
    assert seen["answer"] == [a.prompt.answer for a in answers]
    for answer, ids in zip(answers, seen["ids"], strict=True):
        assert start.tokenizer.decode(ids, skip_special_tokens=True) == answer.text
        assert (bool(ids) and ids[-1] == start.tokenizer.eos_token_id) == answer.finished


def test_a_value_that_is_not_finite_is_refused_by_name(tiny: Tiny) -> None:
    answers = graded_answers(world.load_prompts("eval", 12, 0), 0)
    with pytest.raises(ValueError, match="'broken' gave nan for 108 of 108"):
        broken = FunctionReward(lambda prompts, *_, **__: [float("nan")] * len(prompts))
        score({"broken": broken}, answers, tiny("qwen"))


def test_an_engine_scores_each_pair_once() -> None:
    calls: list[tuple[list[Any], bool]] = []

    class Engine:
        def score(self, prompts: Any, responses: Any, *, entropy: bool = False) -> list[TokenScores]:
            pairs = list(zip(prompts, responses, strict=True))
            calls.append((pairs, entropy))
            return [TokenScores(torch.tensor([float(sum(p) + sum(r))]), torch.empty(0)) for p, r in pairs]

    engine = CachedEngine(Engine())
    first = engine.score([[1], [1], [2]], [[3], [3], [4]])
    again = engine.score([[2], [1], [5]], [[4], [3], []])
    engine.score([[1]], [[3]], entropy=True)
    assert [float(s.log_likelihoods) for s in (*first, *again)] == [4, 4, 6, 6, 4, 5]
    assert [(len(pairs), entropy) for pairs, entropy in calls] == [(2, False), (1, False), (1, True)]

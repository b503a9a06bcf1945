"""A judge as reward: points by hand under judges of every kind, what is left out, and what is not asked twice."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scripted import policy_ending_at
from trainings import run_grpo, same, weights
from verifiers import Tiny

from cme import Unavailable
from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.judges.oracle import OracleJudge
from cme.judges.pairwise import VerdictLog
from cme.miniature import world
from cme.records import Generation, Prompt
from cme.rewards import PairwiseJudge
from cme.rewards.judge import LOG, ring
from cme.training.job import TrainingJob

END = 9


class Longer(Judge):
    """The longer response wins. Notes every comparison; one with a text in `silent` is unscored."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.shown: list[tuple[str, str]] = []
        self.prompts: list[Prompt] = []

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        self.shown.append((first.response, second.response))
        self.prompts.append(prompt)
        if {first.response, second.response} & set(self.silent):
            return JudgeVerdict("unscored", "silent", calls=1)
        return verdict_from_scores(len(first.response), len(second.response), margin=0)


class OneOrder(Longer):
    """A judge that gives a verdict only where the longer response is first."""

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        if len(first.response) < len(second.response):
            return JudgeVerdict("unscored", "the longer response is second")
        return super().compare(prompt, first, second)


class Combining(Longer):
    """A judge with one verdict per pair."""

    combines_orders = True

    def combine(self, shown: JudgeVerdict, swapped: JudgeVerdict) -> JudgeVerdict:
        return shown


def call(reward: PairwiseJudge, texts: list[str], **columns: Any) -> list[float | None]:
    reward.bind(policy_ending_at(END))
    size = reward.num_generations
    prompts = [f"prompt {i // size}" for i in range(len(texts))]
    return reward(prompts, texts, [[1, END]] * len(texts), **columns)


# lengths 1, 3, 2, 3: wins of each response against the three others
TEXTS = ["a", "abc", "ab", "xyz"]


@pytest.mark.parametrize("judge", [Longer, Combining])
def test_points_by_hand(judge: type[Judge]) -> None:
    reward = PairwiseJudge(judge(), 4)
    assert call(reward, TEXTS) == pytest.approx([0, 2.5 / 3, 1 / 3, 2.5 / 3])
    # a second group knows nothing of the first
    found = call(PairwiseJudge(judge(), 2), ["a", "ab", "abc", "abcd"])
    assert found == [0.0, 1.0, 0.0, 1.0]


def test_each_pair_is_shown_once_in_both_orders() -> None:
    judge = Longer()
    call(PairwiseJudge(judge, 4), TEXTS)
    expected = [(a, b) for a in TEXTS for b in TEXTS if a != b]
    assert sorted(judge.shown) == sorted(expected)


def test_an_unscored_pair_is_left_out_and_no_loss() -> None:
    # every pair with "abc" is unscored: the others keep two opponents each, and it has none
    assert call(PairwiseJudge(Longer("abc"), 4), TEXTS) == [0.0, None, 0.5, 1.0]
    # one of two orders is not enough: all pairs are left out, but the tie
    assert call(PairwiseJudge(OneOrder(), 4), TEXTS) == [None, 0.5, None, 0.5]
    assert call(PairwiseJudge(Longer(*TEXTS), 4), TEXTS) == [None] * 4


def test_a_server_without_any_verdict_ends_the_training() -> None:
    class Served(Longer):
        asks_server = True

    assert call(PairwiseJudge(Served("abc"), 4), TEXTS)[1] is None
    with pytest.raises(Unavailable, match=r"no verdict on any of 6 pairs \(silent\)"):
        call(PairwiseJudge(Served(*TEXTS), 4), TEXTS)


def test_neighbours_are_a_ring() -> None:
    assert ring(5, 1) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
    assert ring(5, 2) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (3, 0), (4, 0), (4, 1)]
    assert {frozenset(pair) for pair in ring(5, 2)} == {frozenset(pair) for pair in ring(5, None)}
    judge = Longer()
    found = call(PairwiseJudge(judge, 5, neighbours=1), ["a", "ab", "abc", "abcd", "abcde"])
    # each against the one behind and the one before it
    assert found == [0.0, 0.5, 0.5, 0.5, 1.0]
    assert len(judge.shown) == 10


def test_a_judge_reads_the_columns() -> None:
    judge = Longer()
    reward = PairwiseJudge(judge, 2)
    call(reward, ["a", "ab"], answer=["7", "7"], reference=["seven", "seven"], prompt_text=["x\ny", "x\ny"])
    assert {(p.text, p.answer, p.reference) for p in judge.prompts} == {("x\ny", "7", "seven")}
    call(reward, ["a", "abc"])
    assert {(p.text, p.answer, p.reference) for p in judge.prompts[2:]} == {("prompt 0", None, None)}


def test_the_oracle_compares_finished_responses() -> None:
    graded: list[bool] = []

    def oracle(prompt: str, response: str, finished: bool) -> Any:
        graded.append(finished)
        return world.grade(prompt, response, finished)

    reward = PairwiseJudge(OracleJudge(oracle), 2)
    reward.bind(policy_ending_at(END))
    prompt = world.load_prompts("train", 1, 0)[0].text
    assert reward([prompt] * 2, ["x", "y"], [[1, END], [1]]) == [0.5, 0.5]
    assert sorted(graded) == [False, False, True, True]


def test_no_comparison_is_made_twice(tmp_path: Path) -> None:
    """Not for equal responses, nor by a later process, unless it was unscored."""
    first = Longer("ab")
    reward = PairwiseJudge(first, 4)
    reward.keep_in(tmp_path)
    before = call(reward, TEXTS)
    assert call(reward, TEXTS) == before
    unscored = [pair for pair in first.shown if "ab" in pair]
    assert len(first.shown) == 6 + len(unscored) and len(unscored) == 12  # asked again, in vain
    del reward
    again = Longer()
    resumed = PairwiseJudge(again, 4)
    resumed.keep_in(tmp_path)
    assert call(resumed, TEXTS) == pytest.approx([0, 2.5 / 3, 1 / 3, 2.5 / 3])
    assert all("ab" in pair for pair in again.shown) and len(again.shown) == 6
    log = VerdictLog(tmp_path / LOG)
    assert log.calls[None] == 12  # of the unscored ones, which the judge says it sent
    assert len((tmp_path / LOG).read_text().splitlines()) == 6 + 12 + 6


def test_a_training_that_is_repeated_asks_nothing_and_ends_the_same(tiny: Tiny, tmp_path: Path) -> None:
    def train() -> tuple[Longer, list[Any], Any]:
        judge, policy = Longer(), tiny("qwen")
        reward = PairwiseJudge(judge, 4)
        reward.keep_in(tmp_path)
        job = TrainingJob(0, tmp_path / "policy", quiet=True)
        result = run_grpo(policy, tiny("qwen"), reward, job, num_generations=4)
        return judge, weights(policy), result.history["reward"]

    (first, trained, rewards), (second, again, repeated) = train(), train()
    assert first.shown and not second.shown
    assert same(trained, again) and rewards == repeated
    assert all(value == pytest.approx(0.5) for value in rewards)  # what one wins another loses
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert len(lines) == len(first.shown) and not any(math.isnan(line["seconds"]) for line in lines)


def test_it_must_be_bound_and_have_whole_groups() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        PairwiseJudge(Longer(), 2)(["p"] * 2, ["a", "b"], [[1]] * 2)
    with pytest.raises(ValueError, match=r"3 completions .* groups of 2"):
        call(PairwiseJudge(Longer(), 2), ["a", "b", "c"])


class First(Longer):
    """A judge that always prefers what it is shown first."""

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        return JudgeVerdict("first")


def test_a_judge_that_prefers_a_place_gives_everyone_half() -> None:
    assert call(PairwiseJudge(First(), 4), TEXTS) == [0.5] * 4

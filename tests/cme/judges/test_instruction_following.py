"""Instruction following as judge: verdicts from shares of constraints, in either order, and data that it refuses."""

from functools import partial
from pathlib import Path

import pytest
from samples import response, write_lines

from cme.data import instruction_following as data
from cme.judges.base import JudgeVerdict
from cme.judges.oracle import InstructionFollowing
from cme.records import Generation, Prompt

PROMPT = "Name a drink. Use no commas. Use less than three words. End with: Good luck!"
ROW = {
    "key": 1,
    "prompt": PROMPT,
    "instruction_id_list": [
        "punctuation:no_comma",
        "length_constraints:number_words",
        "startend:end_checker",
    ],
    "kwargs": [{}, {"num_words": 3, "relation": "less than"}, {"end_phrase": "Good luck!"}],
}
SHARES = {
    "Good luck!": 1.0,
    "Tea": 2 / 3,
    "tea or milk": 1 / 3,
    "tea, milk or both": 0.0,
    "": 0.0,
    "Milk": 2 / 3,
}


@pytest.fixture
def judge(tmp_path: Path) -> InstructionFollowing:
    path = write_lines(tmp_path / "own.jsonl", [ROW])
    return InstructionFollowing(partial(data.grade, path=None, eval_path=path))


def test_the_larger_share_wins_in_both_orders(judge: InstructionFollowing) -> None:
    for one, share in SHARES.items():
        for other, other_share in SHARES.items():
            verdict = judge.compare(
                Prompt("p", PROMPT), Generation(one, True, None), Generation(other, False, None)
            )
            outcome = "tie" if share == other_share else "first" if share > other_share else "second"
            assert (verdict.outcome, verdict.scores) == (
                outcome,
                pytest.approx((share, other_share), abs=1e-6),
            )


def test_repeated_instructions_win_only_where_they_count(judge: InstructionFollowing) -> None:
    """The end phrase in the copied instruction meets its constraint, unless only the response's own words count."""
    own = InstructionFollowing(judge.oracle, own_words=True)
    pair = [
        Generation(text, None, None)
        for text in ("Milk and tea", "Use less than three words End with: Good luck!")
    ]
    found = [each.compare(Prompt("p", PROMPT), *pair) for each in (judge, own)]
    assert [verdict.outcome for verdict in found] == ["second", "first"]
    assert [verdict.scores for verdict in found] == [(0.333333, 0.666667), (0.333333, 0.0)]


def test_a_prompt_with_unknown_constraints_is_unscored(judge: InstructionFollowing) -> None:
    verdict = judge.compare(Prompt("p", "Name a drink."), response("Tea"), response("Milk"))
    assert isinstance(verdict, JudgeVerdict) and verdict.outcome == "unscored"
    assert "'Name a drink.' are unknown" in str(verdict.reason)


def test_other_data_are_refused_and_other_constraints_are_another_judge(tmp_path: Path) -> None:
    own = {"_target_": "cme.data.instruction_following.grade", "path": None, "eval_path": None}
    InstructionFollowing.check(own)
    for oracle in (None, {"_target_": "cme.miniature.world.grade"}):
        with pytest.raises(
            ValueError, match="needs prompts with constraints; use data=instruction_following"
        ):
            InstructionFollowing.check(oracle)
    path = write_lines(tmp_path / "own.jsonl", [ROW])
    prints = [InstructionFollowing.fingerprint(own | {"eval_path": place}) for place in (None, None, path)]
    prints.append(InstructionFollowing.fingerprint(own, own_words=True))
    assert prints[0] == prints[1] and len(set(prints)) == 3

"""UltraFeedback's pairs from rows written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from cme import Unavailable
from cme.data.ultrafeedback_pairs import load_pairs, preference_pairs
from cme.records import Preference, Prompt


def row(instruction: str, *scored: tuple[str, float | None]) -> dict[str, Any]:
    completions = [{"response": r, "overall_score": s, "model": "x"} for r, s in scored]
    return {"instruction": instruction, "completions": completions, "source": "y"}


ROWS = [
    row("a", ("good", 8.5), ("bad", 1.0), ("middling", 5.0), ("also middling", 5.0)),
    row("b", ("one", 7.0), ("two", 7.0)),
    row("c", ("unscored", None), ("low", 2.0), ("high", 3.0)),
    row("d", ("never asked for", 1.0), ("nor this", 2.0)),
]
A, B, C = (Prompt(f"id-{text}", text) for text in "abc")


def test_highest_against_lowest() -> None:
    assert preference_pairs(ROWS, [C, A], 0) == [Preference(C, "high", "low"), Preference(A, "good", "bad")]


def test_equal_scores_make_no_pair() -> None:
    assert preference_pairs(ROWS, [B], 0) == []


def test_one_of_those_that_share_a_score_is_drawn_by_seed() -> None:
    rows = [row("a", ("x", 9.0), ("y", 9.0), ("z", 1.0))]
    drawn = {seed: preference_pairs(rows, [A], seed)[0].chosen for seed in range(20)}
    assert set(drawn.values()) == {"x", "y"}
    assert drawn == {seed: preference_pairs(rows, [A], seed)[0].chosen for seed in range(20)}


def test_another_datas_prompt_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"1 prompts are no instructions of openbmb/UltraFeedback, such as id-z"
    ):
        preference_pairs(ROWS, [A, Prompt("id-z", "z")], 0)


def test_pairs_are_read_from_a_local_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in ROWS))
    assert load_pairs([C, A], 0, path=str(file)) == preference_pairs(ROWS, [C, A], 0)


def test_without_the_file_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no file or folder .*nowhere to read openbmb/UltraFeedback from"):
        load_pairs([A], 0, path=str(tmp_path / "nowhere"))

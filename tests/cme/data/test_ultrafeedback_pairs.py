"""UltraFeedback's preference pairs, from rows written by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import write_lines

from cme import Unavailable
from cme.data.ultrafeedback_pairs import load_pairs
from cme.records import Preference, Prompt


def row(instruction: str, *scored: tuple[str, float | None]) -> dict[str, Any]:
    completions = [{"response": r, "overall_score": s, "model": "x"} for r, s in scored]
    return {"instruction": instruction, "completions": completions, "source": "y"}


ROWS = [
    row("a", ("good", 8.5), ("bad", 1.0), ("middling", 5.0), ("also middling", 5.0)),
    row("b", ("one", 7.0), ("two", 7.0)),
    row("c", ("unscored", None), ("low", 2.0), ("high", 3.0)),
    row("d", ("not used", 1.0), ("not used either", 2.0)),
]
A, B, C = (Prompt(f"id-{text}", text) for text in "abc")


@pytest.fixture
def found(tmp_path: Path, own_cache: None) -> Callable[..., list[Preference]]:
    """The pairs in a file of rows."""

    def load(rows: list[dict[str, Any]], prompts: list[Prompt], seed: int = 0) -> list[Preference]:
        return load_pairs(prompts, seed, path=write_lines(tmp_path / "rows.jsonl", rows))

    return load


def test_a_pair_is_the_highest_and_the_lowest_score(found: Callable[..., list[Preference]]) -> None:
    assert found(ROWS, [C, B, A]) == [Preference(C, "high", "low"), Preference(A, "good", "bad")]


def test_the_seed_chooses_among_equal_scores(found: Callable[..., list[Preference]]) -> None:
    rows = [row("a", ("x", 9.0), ("y", 9.0), ("z", 1.0))]
    chosen = [found(rows, [A], seed)[0].chosen for seed in (0, 1, 2, 3, 4, 0)]
    assert set(chosen) == {"x", "y"} and chosen[0] == chosen[-1]


def test_unknown_prompts_and_files_are_refused(
    found: Callable[..., list[Preference]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="id-z"):
        found(ROWS, [A, Prompt("id-z", "z")])
    with pytest.raises(Unavailable, match=r"openbmb/UltraFeedback .*nowhere"):
        load_pairs([A], 0, path=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("instruction", 5, "'instruction' is 5; it must be a text"),
        (
            "completions",
            None,
            "'completions' is null; it must be a list of objects with overall_score, response",
        ),
        ("completions", [{"response": "r"}], "'completions' is .*; it must be a list"),
        ("completions", [{"response": 5, "overall_score": 1.0}], "'response' is 5; it must be a text"),
        (
            "completions",
            [{"response": "r", "overall_score": "N/A"}],
            "'overall_score' is 'N/A'; it must be a num",
        ),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_with_its_row(
    found: Callable[..., list[Preference]], field: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"rows\.jsonl, row 1: {message}"):
        found([ROWS[0] | {field: value}], [A])

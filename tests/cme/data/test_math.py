"""Mathematics from local files: prompts and gold answers."""

from pathlib import Path

import pytest
from samples import write_lines

from cme.data import math
from cme.data.math import EvalSource

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_gold_answer_of_a_training_problem_is_the_last_box_of_its_solution(tmp_path: Path) -> None:
    solutions = {
        "one": (r"First \boxed{3}, so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        "two": (r"The set is \boxed{\{1, 2\}}", r"\{1, 2\}"),
        "none": ("We find 7.", None),
        "open": (r"\boxed{7", None),
        "null": (None, None),
    }
    rows = [{"problem": p, "solution": s, "level": "Level 1"} for p, (s, _) in solutions.items()]
    prompts = math.load_prompts("train", 5, 42, path=write_lines(tmp_path / "train.jsonl", rows))
    assert {p.text.split("\n")[0]: p.answer for p in prompts} == {
        p: gold for p, (_, gold) in solutions.items()
    }
    assert all(p.text.endswith(r"\boxed{}.") for p in prompts)
    assert {p.id for p in prompts} == {f"math-{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("source", "row", "answer"),
    [
        ("math500", {"problem": "p", "answer": r"\left( 3, \frac{\pi}{2} \right)", "unique_id": "x"},
         r"\left( 3, \frac{\pi}{2} \right)"),
        ("amc23", {"id": 0, "question": "p", "answer": 27.0, "url": "u"}, "27"),
        ("amc23", {"id": 0, "question": "p", "answer": "27.0", "url": "u"}, "27"),
        ("amc23", {"id": 0, "question": "p", "answer": 2.5, "url": "u"}, "2.5"),
        ("aime24", {"ID": "2024-II-4", "Problem": "p", "Solution": "s", "Answer": 33}, "33"),
        ("amc23", {"id": 0, "question": "p", "answer": None, "url": "u"}, None),
        ("aime24", {"ID": "2024-II-4", "Problem": "p", "Solution": "s", "Answer": " "}, None),
    ],
)  # fmt: skip
def test_gold_answers_of_the_evaluations(
    tmp_path: Path, source: EvalSource, row: dict[str, object], answer: str | None
) -> None:
    path = write_lines(tmp_path / "x.jsonl", [row])
    [prompt] = math.load_prompts("eval", 1, 42, eval_source=source, eval_path=path)
    assert (prompt.id, prompt.answer) == (f"{source}-0", answer)
    assert prompt.text.startswith("p\n")


def test_unknown_splits_and_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'test'.*train, eval"):
        math.load_prompts("test", 1, 0)
    with pytest.raises(ValueError, match=r"'gsm8k'.*math500, amc23, aime24"):
        math.load_prompts("eval", 1, 0, eval_source="gsm8k")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("split", "row", "named"),
    [
        ("train", {"problem": None, "solution": "s"}, "'problem' is null"),
        ("train", {"problem": "p", "solution": 5}, "'solution' is 5"),
        ("eval", {"problem": "p", "answer": [5]}, r"'answer' is \[5\]"),
        ("eval", {"problem": "p", "answer": True}, "'answer' is True"),
    ],
)
def test_a_field_that_is_no_text_is_refused_with_its_row(
    tmp_path: Path, split: str, row: dict[str, object], named: str
) -> None:
    path = write_lines(tmp_path / "x.jsonl", [row])
    with pytest.raises(ValueError, match=rf"x\.jsonl, row 1: {named}; it must be a text"):
        math.load_prompts(split, 1, 0, path=path, eval_path=path)

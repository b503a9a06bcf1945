"""Prompts of your own: which rows a file may have, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import write_lines

from cme.data import prompt_file
from cme.records import Conversation, Prompt

USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Add 1 and 2.", "answer": 3}, Prompt("row-1", "Add 1 and 2.", "3")),
        ({"messages": [USER], "instruction": None, "answer": None}, Prompt("row-1", "Hi")),
        ({"messages": [USER, ASSISTANT]}, Prompt("row-1", "Hi", None, "Hello")),
        (
            {"instruction": "Hi", "system": "Be brief.", "output": "Hello"},
            Conversation("row-1", "System: Be brief.\n\nUser: Hi", None, "Hello", [SYSTEM, USER]),
        ),
        (
            {"messages": [SYSTEM, USER, ASSISTANT, USER]},
            Conversation(
                "row-1",
                "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Hi",
                None,
                None,
                [SYSTEM, USER, ASSISTANT, USER],
            ),
        ),
    ],
)
def test_a_row_is_a_prompt(tmp_path: Path, row: dict[str, Any], expected: Prompt) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [row])
    assert prompt_file.read_prompts(path) == [expected]
    (tmp_path / "list.json").write_text(json.dumps([row], indent=1))
    assert prompt_file.read_prompts(str(tmp_path / "list.json")) == [expected]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"output": "Hello"}, "either `instruction` or `messages`"),
        ({"instruction": "Hi", "messages": [USER]}, "either `instruction` or `messages`"),
        ({"instruction": " "}, "`instruction` is empty"),
        ({"instruction": 3}, "instruction: .*3"),
        ({"instruction": "Hi", "input": "x"}, "the field 'input', which is not used"),
        ({"messages": [USER], "system": "Be brief."}, "'system', which is not used with `messages`"),
        ({"messages": [USER, USER]}, "the roles of `messages` are user, user"),
        ({"messages": [USER, ASSISTANT], "output": "x"}, "begin and end with user"),
        ({"messages": [SYSTEM]}, "begin and end with user"),
        ({"messages": [{"role": "model", "content": "Hi"}]}, "messages.0.role"),
        (["Hi"], "must be an object with either"),
    ],
)
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, row: Any, problem: str) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [{"instruction": "Hi"}, row])
    [sentence] = prompt_file.missing(path)
    assert sentence.startswith(f"{path}, line 2")
    with pytest.raises(ValueError, match=problem):
        prompt_file.load_prompts("train", 1, 0, path=path)


def test_files_that_are_absent_empty_or_short_are_refused(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.jsonl")
    assert prompt_file.missing(absent, absent) == [f"{absent} cannot be read: No such file or directory"]
    with pytest.raises(ValueError, match="has no rows"):
        prompt_file.load_prompts("train", 1, 0, path=write_lines(tmp_path / "empty.jsonl", []))
    with pytest.raises(ValueError, match="1 prompts for training, but 2"):
        prompt_file.load_prompts(
            "train", 2, 0, path=write_lines(tmp_path / "one.jsonl", [{"instruction": "Hi"}])
        )
    with pytest.raises(ValueError, match="'trian'"):
        prompt_file.load_prompts("trian", 1, 0, path=absent)


def test_a_fifth_of_one_file_is_for_evaluation(tmp_path: Path) -> None:
    texts = [f"Question {n}" for n in range(50)] * 2  # each text twice: both times in the same split
    path = write_lines(tmp_path / "mine.jsonl", ({"instruction": text} for text in texts))

    def load(split: str, count: int, seed: int) -> list[Prompt]:
        return prompt_file.load_prompts(split, count, seed, path=path)

    train, evaluation = ({p.text for p in load(split, n, 0)} for split, n in (("train", 80), ("eval", 20)))
    assert train | evaluation == set(texts) and not train & evaluation and len(evaluation) == 10
    assert {p.text for p in load("eval", 20, 1)} != evaluation


def test_another_file_for_evaluation(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "mine.jsonl", ({"instruction": f"Train {n}"} for n in range(5)))
    eval_path = write_lines(tmp_path / "eval.jsonl", ({"instruction": f"Eval {n}"} for n in range(3)))
    loaded = [
        prompt_file.load_prompts(split, count, 0, path=path, eval_path=eval_path)
        for split, count in (("train", 5), ("eval", 3))
    ]
    assert [{p.text.split()[0] for p in prompts} for prompts in loaded] == [{"Train"}, {"Eval"}]
    assert len({p.id for prompts in loaded for p in prompts}) == 8

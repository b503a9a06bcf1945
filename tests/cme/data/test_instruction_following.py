"""The prompts with constraints: none shared by the splits, feasible, balanced, and graded as lm-eval grades them."""

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks.ifeval.utils import process_results
from samples import write_lines

from cme.data import instruction_following
from cme.data.instruction_following import grade, load_prompts, missing, own_files
from cme.grading.answers import normalize_text
from cme.grading.constraints import ConstrainedPrompt, find_problem, loosely_met, strictly_met
from cme.records import Grade

Settings = dict[str, Any]


def rows(split: str) -> list[dict[str, Any]]:
    text = (files("cme.data") / "instruction_following" / f"{split}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


EVERY = [(split, row) for split in ("train", "eval") for row in rows(split)]


def test_keys_and_texts_are_unique_and_there_are_enough() -> None:
    assert len(rows("train")) >= 320 and len(rows("eval")) >= 300 + 32  # with those for checkpoint selection
    for field in ("key", "prompt"):
        assert len({normalize_text(row[field]) for _, row in EVERY}) == len(EVERY)


def test_no_training_request_is_an_evaluation_one() -> None:
    """Constraints repeat; requests do not. A request is the sentence of a prompt that occurs in no other."""
    sentences = [{normalize_text(s) for s in re.split(r"(?<=[.?!])\s+", row["prompt"])} for _, row in EVERY]
    common = Counter(sentence for own in sentences for sentence in own)
    for (_, row), own in zip(EVERY, sentences, strict=True):
        assert any(common[sentence] == 1 for sentence in own), row["key"]


def test_keys_name_the_evaluation_prompts_with_kinds_that_are_not_trained() -> None:
    trained = {kind for split, row in EVERY if split == "train" for kind in row["instruction_id_list"]}
    for split, row in EVERY:
        expected = (
            "train" if split == "train" else "seen" if trained >= set(row["instruction_id_list"]) else "new"
        )
        assert row["key"].partition("-")[0] == expected
        assert find_problem(ConstrainedPrompt(**row)) is None, row["key"]


def test_scores_are_those_of_lm_evals_own_task() -> None:
    samples = ("", "Sure, here it is:\n* The sea, the *sun*.\n* More tea!", "My answer is no.", '{"sea": 1}')
    for _, row in EVERY[::5]:
        for response in (row["prompt"], f"Sure:\n{row['prompt']}\nDone.", *samples):
            theirs = process_results(row, [response])
            strict = strictly_met(ConstrainedPrompt(**row), response)
            assert strict == theirs["inst_level_strict_acc"]
            assert loosely_met(ConstrainedPrompt(**row), response) == theirs["inst_level_loose_acc"]
            if response in samples:
                ours = grade(row["prompt"], response, True)
                assert ours.quality == pytest.approx(sum(strict) / len(strict))
                assert (ours.fault == "none") == theirs["prompt_level_strict_acc"]


ROW = {
    "key": 1000,
    "prompt": "Name a drink. Use no commas. Wrap it in double quotation marks.",
    "instruction_id_list": ["punctuation:no_comma", "startend:quotation"],
    "kwargs": [{}, {}],
}


def test_the_grade_is_the_share_of_constraints_that_are_met(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "own.jsonl", [ROW])

    def graded(response: str) -> Grade:
        return grade(str(ROW["prompt"]), response, False, eval_path=path)

    comma, quotation = ROW["instruction_id_list"]
    assert graded('"Tea"') == Grade(1.0, "none", {comma: True, quotation: True})
    assert graded("Tea") == Grade(0.5, "some_unmet", {comma: True, quotation: False})
    assert graded(f'{ROW["prompt"]} "Tea"') == graded('"Tea"')
    assert graded("Tea, milk") == Grade(0.0, "all_unmet", {comma: False, quotation: False})
    with pytest.raises(ValueError, match=r"'Name a drink\.' are unknown: .*data\.eval_path"):
        grade("Name a drink.", "Tea", True, eval_path=path)


def test_a_copied_prompt_meets_nothing() -> None:
    """Without the rule, nearly half of the bundled constraints are met by the prompt alone."""
    by_prompt = [strictly_met(ConstrainedPrompt(**row), row["prompt"]) for _, row in EVERY]
    assert 0.4 < sum(sum(met) / len(met) for met in by_prompt) / len(by_prompt) < 0.5
    for _, row in EVERY:
        prompt = row["prompt"]
        for copied in (prompt.upper(), prompt.replace(" ", "\n"), f"{prompt}\n{prompt}"):
            assert grade(prompt, copied, True).fault == "all_unmet", row["key"]


def test_own_files_replace_the_bundled_ones(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "own.jsonl", [ROW])
    assert own_files(path, path) == [path] and own_files() == []
    assert [p.text for p in load_prompts("eval", 1, 0, eval_path=path)] == [ROW["prompt"]]
    assert load_prompts("train", 1, 0, eval_path=path)[0].text != ROW["prompt"]
    assert missing(path) == missing() == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (ROW, "line 2: the key 1000 occurs twice"),
        (
            ROW | {"key": 2, "instruction_id_list": ["punctuation:no_comma", "punctuation:no_dash"]},
            "'punctuation:no_dash' is no known kind of constraint; the kinds are ",
        ),
        (ROW | {"key": 2, "kwargs": [{}]}, "line 2: `kwargs` has 1 entries for 2 constraints"),
        (ROW | {"key": 2, "level": 1}, "line 2: level: "),
        ("a string", "line 2: "),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, second: Any, message: str) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [ROW, second])
    assert [message in sentence and path in sentence for sentence in missing(eval_path=path)] == [True]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_prompts("eval", 1, 0, eval_path=path)


def test_a_file_without_rows_or_with_ambiguous_ones_is_refused(tmp_path: Path) -> None:
    empty = write_lines(tmp_path / "empty.jsonl", [])
    assert missing(empty) == [
        f"{empty} has no rows; each must have `prompt`, `instruction_id_list` and `kwargs`"
    ]
    assert "cannot be read" in missing(str(tmp_path / "absent.jsonl"))[0]
    other = ROW | {"key": 2, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    path = write_lines(tmp_path / "ambiguous.jsonl", [ROW, other])
    with pytest.raises(ValueError, match="1000 and 2 have the same text"):
        instruction_following.constraints(str(ROW["prompt"]), eval_path=path)


def test_splits_and_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="split is 'test'"):
        load_prompts("test", 1, 0)
    with pytest.raises(ValueError, match="'train' has 326 prompts, but 400"):
        load_prompts("train", 400, 0)

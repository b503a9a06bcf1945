"""The prompts with constraints: none shared by the splits, feasible, balanced, and graded as lm-eval grades them."""

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks.ifeval.utils import process_results
from samples import all_prompts, write_lines

from cme.data import instruction_following
from cme.data.instruction_following import grade, load_prompts, missing, own_files
from cme.grading.answers import normalize_text
from cme.grading.constraints import ConstrainedPrompt, find_problem, known_kinds, loosely_met, strictly_met
from cme.records import Grade

Settings = dict[str, Any]

EVALUATION_ALONE = {
    "change_case:english_capital",
    "combination:two_responses",
    "detectable_format:json_format",
    "detectable_format:multiple_sections",
    "keywords:letter_frequency",
    "length_constraints:nth_paragraph_first_word",
}
SENTENCES = (  # without commas and without the letters b, g, k, p, v, w and y
    "the sun is out and so the children sit in their old house near the sea",
    "the cat sits on the mat in the hall and dreams of the red door at the end of the street",
    "it is not too late to listen to the other side and then decide",
)
LANGUAGES = {
    "de": "Das Wetter ist heute schön und wir gehen gern im Wald spazieren.",
    "es": "El tiempo es bueno hoy y nos gusta caminar por el bosque.",
    "fr": "Le temps est beau et nous aimons marcher dans la forêt.",
    "it": "Il tempo è bello oggi e ci piace camminare nel bosco.",
    "pt": "O tempo está bom hoje e nós gostamos de caminhar na floresta.",
}


def rows(split: str) -> list[dict[str, Any]]:
    text = (files("cme.data") / "instruction_following" / f"{split}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def constrained(row: dict[str, Any]) -> ConstrainedPrompt:
    return ConstrainedPrompt(**row)


EVERY = [(split, row) for split in ("train", "eval") for row in rows(split)]


def passing_response(row: dict[str, Any]) -> str:
    """A short response that meets all constraints of a row, built from their settings."""
    of: dict[str, Settings] = {
        kind.partition(":")[2]: kwargs
        for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)
    }
    if "constrained_response" in of:
        return "My answer is maybe."
    forbidden = of.get("forbidden_words", {}).get("forbidden_words", [])
    sentence = next(s for s in SENTENCES if not set(s.split()) & set(forbidden))
    if "response_language" in of:
        sentence = LANGUAGES[of["response_language"]["language"]]
    words = [*of.get("existence", {}).get("keywords", [])]
    if (frequency := of.get("frequency")) and frequency["relation"] == "at least":
        words += [frequency["keyword"]] * frequency["frequency"]
    if (letter := of.get("letter_frequency")) and letter["let_relation"] == "at least":
        words.append(letter["letter"] * letter["let_frequency"])
    words += ["*sea*"] * of.get("number_highlighted_sections", {}).get("num_highlights", 0)
    words += ["[name]"] * of.get("number_placeholders", {}).get("num_placeholders", 0)
    text = " ".join([sentence, *words])
    if (length := of.get("number_words")) and length["relation"] == "at least":
        text = " ".join([text] * (length["num_words"] // len(text.split()) + 1))
    if "json_format" in of:
        return json.dumps({"answer": text})
    if "two_responses" in of:
        text = f"{text}\n******\n{text} too"
    if bullets := of.get("number_bullet_lists"):
        text = "\n".join(f"* {part}" for part in [text, *["more"] * (bullets["num_bullets"] - 1)])
    if paragraphs := of.get("number_paragraphs"):
        text = "\n***\n".join([text, *["more"] * (paragraphs["num_paragraphs"] - 1)])
    if first := of.get("nth_paragraph_first_word"):
        start = first["first_word"]
        text = "\n\n".join([f"{start} {text}", *[start] * (first["num_paragraphs"] - 1)])
    if sections := of.get("multiple_sections"):
        parts = [text, *["more"] * (sections["num_sections"] - 1)]
        text = "\n".join(
            f"{sections['section_spliter']} {n}\n{part}" for n, part in enumerate(parts, start=1)
        )
    if "title" in of:
        text = f"<<the sea>>\n{text}"
    if repeated := of.get("repeat_prompt"):
        text = f"{repeated['prompt_to_repeat']}\n{text}"
    if end := of.get("end_checker"):
        text = f"{text} {end['end_phrase']}"
    if postscript := of.get("postscript"):
        text = f"{text}\n{postscript['postscript_marker']} more"
    if "english_lowercase" in of:
        text = text.lower()
    if "english_capital" in of:
        text = text.upper()
    return f'"{text}"' if "quotation" in of else text


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


@pytest.mark.parametrize("split", ["train", "eval"])
def test_prompts_are_the_rows_of_the_file(split: str) -> None:
    by_key = {row["key"]: row["prompt"] for row in rows(split)}
    assert {prompt.id: prompt.text for prompt in all_prompts(load_prompts, split)} == by_key


def test_kinds_are_balanced_and_some_are_in_evaluation_alone() -> None:
    count = {
        split: Counter(kind for row in rows(split) for kind in row["instruction_id_list"])
        for split in ("train", "eval")
    }
    assert set(count["eval"]) == set(known_kinds())
    assert set(count["eval"]) - set(count["train"]) == EVALUATION_ALONE and not EVALUATION_ALONE & set(
        count["train"]
    )
    for by_kind in count.values():
        assert max(by_kind.values()) <= 1.5 * min(by_kind.values()) and min(by_kind.values()) >= 25
    for split in ("train", "eval"):
        sizes = Counter(len(row["instruction_id_list"]) for row in rows(split))
        assert set(sizes) == {1, 2, 3} and min(sizes.values()) >= 80


def test_keys_name_the_evaluation_prompts_with_kinds_that_are_not_trained() -> None:
    for split, row in EVERY:
        new = bool(EVALUATION_ALONE & set(row["instruction_id_list"]))
        expected = "train" if split == "train" else "new" if new else "seen"
        assert row["key"].partition("-")[0] == expected


def test_every_prompt_states_its_settings() -> None:
    names = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
    numbers = {1: "one|once", 2: "two", 3: "three", 4: "four", 5: "five"}
    for _, row in EVERY:
        for kwargs in row["kwargs"]:
            for name, value in kwargs.items():
                if name.endswith("relation"):
                    continue
                for part in value if isinstance(value, list) else [value]:
                    said = names.get(part, part) if name == "language" else str(part)
                    pattern = rf"\b{re.escape(said)}" + (f"|{numbers[part]}" if part in numbers else "")
                    assert re.search(pattern, row["prompt"], re.IGNORECASE), (row["key"], name, part)


def test_every_prompt_has_a_short_response_that_meets_all_its_constraints() -> None:
    for _, row in EVERY:
        assert find_problem(constrained(row)) is None, row["key"]
        response = passing_response(row)
        assert all(strictly_met(constrained(row), response)), (row["key"], response)
        assert len(response.split()) <= 90


def test_scores_are_those_of_lm_evals_own_task() -> None:
    samples = ("", "Sure, here it is:\n* The sea, the *sun*.\n* More tea!", "My answer is no.", '{"sea": 1}')
    for _, row in EVERY[::5]:
        for response in (passing_response(row), f"Sure:\n{passing_response(row)}\nDone.", *samples):
            theirs = process_results(row, [response])
            strict = strictly_met(constrained(row), response)
            assert strict == theirs["inst_level_strict_acc"]
            assert loosely_met(constrained(row), response) == theirs["inst_level_loose_acc"]
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
    assert graded("Tea, milk") == Grade(0.0, "all_unmet", {comma: False, quotation: False})
    with pytest.raises(ValueError, match=r"'Name a drink\.' are unknown: .*data\.eval_path"):
        grade("Name a drink.", "Tea", True, eval_path=path)


def test_a_copied_prompt_meets_nothing() -> None:
    """Without the rule, nearly half of the bundled constraints are met by the prompt alone."""
    by_prompt = [strictly_met(constrained(row), row["prompt"]) for _, row in EVERY]
    assert 0.4 < sum(sum(met) / len(met) for met in by_prompt) / len(by_prompt) < 0.5
    for _, row in EVERY:
        prompt = row["prompt"]
        for copied in (
            prompt,
            f" {prompt}\n\n",
            prompt.upper(),
            prompt.replace(" ", "\n"),
            f"{prompt}\n{prompt}",
        ):
            assert grade(prompt, copied, True).fault == "all_unmet", row["key"]


def test_an_answer_beside_a_copied_prompt_is_graded_alone() -> None:
    for _, row in EVERY[::5]:
        answer = passing_response(row)
        assert grade(row["prompt"], f"{row['prompt']}{answer}", True) == grade(row["prompt"], answer, True)


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

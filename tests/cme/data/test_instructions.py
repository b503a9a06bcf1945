"""The committed instruction set: sizes, ids, references, and no evaluation prompt in training."""

import json
from importlib.resources import files

import pytest

from cme.data.instructions import load_prompts
from cme.grading.answers import normalize_text

SPLITS = ("train", "eval")


def rows(name: str) -> list[dict[str, str]]:
    text = (files("cme.data") / "instructions" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = normalize_text(text).split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def size(split: str) -> int:
    """The size of a split, by its own error sentence."""
    with pytest.raises(ValueError, match="asked for") as caught:
        load_prompts(split, 100_000, 0)
    return int(str(caught.value).split("has ")[1].split()[0])


def test_there_are_enough_and_ids_are_unique() -> None:
    assert len(rows("train")) >= 256
    assert len(rows("eval")) >= 128
    ids = [row["id"] for name in ("train", "eval") for row in rows(name)]
    assert len(set(ids)) == len(ids)
    assert all(row["instruction"].strip() for name in ("train", "eval") for row in rows(name))


def test_every_evaluation_row_has_a_reference_and_no_training_row() -> None:
    assert all(row["reference"].strip() for row in rows("eval"))
    assert not any("reference" in row for row in rows("train"))


def test_no_instruction_occurs_twice() -> None:
    texts = [normalize_text(row["instruction"]) for name in ("train", "eval") for row in rows(name)]
    assert len(set(texts)) == len(texts)


def test_no_training_instruction_is_near_an_evaluation_one() -> None:
    training = [(row["id"], trigrams(row["instruction"])) for row in rows("train")]
    for row in rows("eval"):
        own = trigrams(row["instruction"])
        near = [i for i, other in training if own | other and len(own & other) / len(own | other) >= 0.5]
        assert not near, f"{row['id']} is near {near}"


def test_splits_are_disjoint_and_use_every_row() -> None:
    loaded = {split: {p.id for p in load_prompts(split, size(split), 0)} for split in SPLITS}
    assert sum(map(len, loaded.values())) == len(rows("train")) + len(rows("eval"))
    assert len(set().union(*loaded.values())) == sum(map(len, loaded.values()))
    assert loaded["eval"] == {row["id"] for row in rows("eval")}


def test_prompts_are_the_files_rows() -> None:
    by_id = {row["id"]: row for row in rows("eval")}
    for prompt in load_prompts("eval", 20, 0):
        assert prompt.text == by_id[prompt.id]["instruction"]
        assert prompt.reference == by_id[prompt.id]["reference"]
        assert prompt.answer is None
    assert all(p.reference is None for p in load_prompts("train", 20, 0))


def test_the_seed_decides_the_draw() -> None:
    assert load_prompts("train", 50, 1) == load_prompts("train", 50, 1)
    assert load_prompts("train", 50, 1) != load_prompts("train", 50, 2)
    assert len({p.id for p in load_prompts("train", 50, 1)}) == 50


def test_an_unknown_split_is_named_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"'trian'.*train, eval"):
        load_prompts("trian", 1, 0)

"""The bundled instructions: ids, references, and no evaluation instruction near a training one."""

import json
from importlib.resources import files

from cme.grading.answers import normalize_text


def rows(split: str) -> list[dict[str, str]]:
    text = (files("cme.data") / "instructions" / f"{split}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = normalize_text(text).split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_ids_and_texts_are_unique_and_only_evaluation_has_references() -> None:
    train, evaluation = rows("train"), rows("eval")
    assert len(train) >= 256 and len(evaluation) >= 128
    for key in (lambda row: row["id"], lambda row: normalize_text(row["instruction"])):
        values = [key(row) for row in train + evaluation]
        assert len(set(values)) == len(values) and all(values)
    assert all(row["reference"].strip() for row in evaluation)
    assert not any("reference" in row for row in train)


def test_no_training_instruction_is_near_an_evaluation_one() -> None:
    training = [(row["id"], trigrams(row["instruction"])) for row in rows("train")]
    for row in rows("eval"):
        own = trigrams(row["instruction"])
        near = [i for i, other in training if own | other and len(own & other) / len(own | other) >= 0.5]
        assert not near, f"{row['id']} is near {near}"

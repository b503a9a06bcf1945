"""The paper's open-ended prompts from local files: which are drawn, which are too long."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from cme import checkpoints
from cme.data import alpaca_eval, ultrafeedback

TEXTS = [f"what is {i} plus {i}?" for i in range(30)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    long = "the fox sees the bell. " * 200
    rows = [{"source": "x", "instruction": text} for text in [*TEXTS, *[f"{i} {long}" for i in range(30)]]]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluated = [{"instruction": f"eval {i}", "output": "x", "dataset": "y"} for i in range(20)]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(evaluated))
    return tmp_path


def test_what_is_too_long_is_never_drawn(place: Path, tiny_folder: Callable[..., Path]) -> None:
    def drawn(count: int, seed: int = 42, limit: int = 64) -> list[str]:
        found = ultrafeedback.load_prompts(
            "train", count, seed, tokenizer=str(tiny_folder("qwen")), max_prompt_tokens=limit,
            path=str(place / "train.jsonl"),
        )  # fmt: skip
        assert len({p.id for p in found}) == len(found)
        return [p.text for p in found]

    assert sorted(drawn(30)) == sorted(TEXTS)
    assert drawn(12) == drawn(30)[:12] != drawn(30, seed=1)[:12]
    assert len(drawn(60, limit=100_000)) == 60
    with pytest.raises(ValueError, match=r"30 instructions of at most 64 tokens, 31 asked for"):
        drawn(31)


def test_a_prompt_counts_as_the_generator_sees_it(place: Path, tiny_folder: Callable[..., Path]) -> None:
    name = str(tiny_folder("llama"))
    tokenizer = checkpoints.load_tokenizer(name)
    message = [{"role": "user", "content": TEXTS[0]}]
    length = len(tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"])
    (place / "one.jsonl").write_text(json.dumps({"instruction": TEXTS[0]}) + "\n")

    def count(limit: int) -> int:
        path = str(place / "one.jsonl")
        return len(
            ultrafeedback.load_prompts("train", 1, 0, tokenizer=name, max_prompt_tokens=limit, path=path)
        )

    assert count(length) == 1
    with pytest.raises(ValueError, match="0 instructions"):
        count(length - 1)


def test_the_evaluation_is_alpaca_evals(place: Path) -> None:
    path = str(place / "alpaca_eval.json")
    found = ultrafeedback.load_prompts("eval", 12, 42, tokenizer="none", max_prompt_tokens=1, eval_path=path)
    assert found == alpaca_eval.load_prompts(12, 42, path)
    assert all(p.text == f"eval {p.id.removeprefix('alpaca_eval-')}" for p in found)
    assert len({p.id for p in found}) == 12
    with pytest.raises(ValueError, match=r"20 rows, 21 asked for"):
        alpaca_eval.load_prompts(21, 42, path)
    with pytest.raises(ValueError, match=r"'test'.*train, eval"):
        ultrafeedback.load_prompts("test", 1, 0, tokenizer="none", max_prompt_tokens=1)


def test_what_is_missing_is_said_of_both_halves(tmp_path: Path) -> None:
    found = ultrafeedback.missing(
        path=str(tmp_path / "a"), eval_path=None, tokenizer="x", max_prompt_tokens=1
    )
    assert len(found) == 2
    assert str(tmp_path / "a") in found[0] and "tatsu-lab/alpaca_eval" in found[1]

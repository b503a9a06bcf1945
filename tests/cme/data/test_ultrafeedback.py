"""The paper's open-ended prompts, from local files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import write_lines

from cme import checkpoints
from cme.data import ultrafeedback
from cme.records import Prompt

TEXTS = [f"what is {i} plus {i}?" for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path, own_cache: None) -> Path:
    """Thirty short and thirty long training instructions, and twenty for evaluation."""
    long = [f"{i} {'the fox sees the bell. ' * 200}" for i in range(30)]
    write_lines(tmp_path / "train.jsonl", [{"source": "x", "instruction": text} for text in [*TEXTS, *long]])
    evaluation = [{"instruction": f"eval {i}", "output": "x", "dataset": "y"} for i in range(20)]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(evaluation))
    return tmp_path


def test_long_prompts_are_skipped(folder: Path, tiny_folder: Callable[..., Path]) -> None:
    def sample(count: int, seed: int = 42, limit: int = 64) -> list[str]:
        settings = {"tokenizer": str(tiny_folder("qwen")), "path": str(folder / "train.jsonl")}
        prompts = ultrafeedback.load_prompts("train", count, seed, max_prompt_tokens=limit, **settings)
        assert len({p.id for p in prompts}) == len(prompts)
        return [p.text for p in prompts]

    assert sorted(sample(30)) == sorted(TEXTS)
    assert sample(12) == sample(30)[:12] != sample(30, seed=1)[:12]
    assert len(sample(60, limit=100_000)) == 60
    with pytest.raises(ValueError, match=r"30 instructions of at most 64 tokens, but 31 "):
        sample(31)


def test_the_chat_template_counts_as_part_of_the_prompt(
    folder: Path, tiny_folder: Callable[..., Path]
) -> None:
    name = str(tiny_folder("llama"))
    tokenizer = checkpoints.load_tokenizer(name)
    message = [{"role": "user", "content": TEXTS[0]}]
    length = len(tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"])
    settings = {"tokenizer": name, "path": write_lines(folder / "one.jsonl", [{"instruction": TEXTS[0]}])}
    assert len(ultrafeedback.load_prompts("train", 1, 0, max_prompt_tokens=length, **settings)) == 1
    with pytest.raises(ValueError, match="0 instructions"):
        ultrafeedback.load_prompts("train", 1, 0, max_prompt_tokens=length - 1, **settings)


def evaluation_prompts(path: str, count: int, split: str = "eval") -> list[Prompt]:
    return ultrafeedback.load_prompts(split, count, 42, tokenizer="none", max_prompt_tokens=1, eval_path=path)


def test_evaluation_prompts_are_those_of_alpaca_eval(folder: Path) -> None:
    path = str(folder / "alpaca_eval.json")
    prompts = evaluation_prompts(path, 12)
    assert all(p.text == f"eval {p.id.removeprefix('alpaca_eval-')}" for p in prompts)
    assert len({p.id for p in prompts}) == 12
    with pytest.raises(ValueError, match="20 rows, but 21 "):
        evaluation_prompts(path, 21)
    with pytest.raises(ValueError, match=r"'test'.*train, eval"):
        evaluation_prompts(path, 1, "test")


@pytest.mark.parametrize(("value", "found"), [(None, "null"), (5, "5")])
def test_an_instruction_that_is_no_text_is_refused_with_its_row(
    folder: Path, tiny_folder: Callable[..., Path], value: object, found: str
) -> None:
    path = write_lines(folder / "bad.jsonl", [{"instruction": value}])
    message = rf"{path}, row 1: 'instruction' is {found}; it must be a text"
    with pytest.raises(ValueError, match=message):
        evaluation_prompts(path, 1)
    with pytest.raises(ValueError, match=message):
        ultrafeedback.load_prompts(
            "train", 1, 0, tokenizer=str(tiny_folder("qwen")), max_prompt_tokens=64, path=path
        )

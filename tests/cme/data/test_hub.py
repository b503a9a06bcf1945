"""The paper's prompts without a hub: what is said when they are not there, and the draw when they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from cme import Unavailable
from cme.data.hub import load_prompts


def refuse(*_: object, **__: object) -> Any:
    raise ConnectionError("offline")


@pytest.mark.parametrize(
    ("split", "name"), [("train", "openbmb/UltraFeedback"), ("eval", "tatsu-lab/alpaca_eval")]
)
def test_unreachable_data_are_named_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, split: str, name: str
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(Unavailable, match=f"{name}.*hf download --repo-type dataset {name}") as caught:
        load_prompts(split, 1, 0)
    assert "\n" not in str(caught.value)


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    texts = {"train": [f"train {i}" for i in range(30)], "eval": [f"eval {i}" for i in range(20)]}
    path = tmp_path / "alpaca_eval.json"
    path.write_text(json.dumps([{"instruction": t, "output": "x"} for t in texts["eval"]]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"instruction": texts["train"]})
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(path))
    return texts.__getitem__


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_draw_is_by_seed_and_ids_name_rows(reachable: Callable[[str], list[str]], split: str) -> None:
    drawn = load_prompts(split, 12, 3)
    assert drawn == load_prompts(split, 12, 3)
    assert drawn != load_prompts(split, 12, 4)
    assert len({p.id for p in drawn}) == 12
    assert all(p.text == reachable(split)[int(p.id.removeprefix(f"{split}-"))] for p in drawn)


@pytest.mark.usefixtures("reachable")
def test_bad_requests() -> None:
    with pytest.raises(ValueError, match=r"'eval' has 20 instructions, 21 asked for"):
        load_prompts("eval", 21, 0)
    with pytest.raises(ValueError, match=r"'test'.*train, eval"):
        load_prompts("test", 1, 0)

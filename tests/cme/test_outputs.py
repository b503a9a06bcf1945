"""AlpacaEval's outputs: what a run leaves is what alpaca-eval itself reads, and what others wrote is read whole."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.outputs import BadOutputs, read_outputs, write_outputs
from cme.records import Generation, Pair, RunRecord

TEXTS = ["12", "", 'a "quoted"\nline', "狐 and 🦊", "  spaces  ", "1999-01-01"]


def record(texts: list[str]) -> RunRecord:
    pairs = [
        Pair(f"p{n}", f"prompt {n}", None, Generation(text, True, 1), Generation(text[::-1], False, 2))
        for n, text in enumerate(texts)
    ]
    return RunRecord(
        "a-run", "laptop", "qwen", "sft", "cme", "gemma", "oracle", 0, None, "the/start", "v", None,
        {"data": {"name": "world"}}, {}, [], None, {}, pairs, [], {},
    )  # fmt: skip


def test_a_run_leaves_both_sides_in_order(tmp_path: Path) -> None:
    write_outputs(tmp_path, record(TEXTS))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy_outputs.json", "start_outputs.json"]
    start = json.loads((tmp_path / "start_outputs.json").read_text())
    assert start == [
        {"instruction": f"prompt {n}", "output": text, "generator": "the/start", "dataset": "world"}
        for n, text in enumerate(TEXTS)
    ]
    policy = json.loads((tmp_path / "policy_outputs.json").read_text())
    assert [row["output"] for row in policy] == [text[::-1] for text in TEXTS]
    assert {row["generator"] for row in policy} == {"a-run"}
    assert read_outputs(tmp_path / "policy_outputs.json") == policy


def test_alpaca_eval_reads_and_pairs_them(tmp_path: Path) -> None:
    level = logging.root.level
    from alpaca_eval import utils

    logging.root.setLevel(level)  # the import sets it to INFO
    write_outputs(tmp_path, record(TEXTS))
    start, policy = (
        utils.load_or_convert_to_dataframe(tmp_path / f"{w}_outputs.json") for w in ("start", "policy")
    )
    assert list(start["output"]) == TEXTS
    assert list(start.columns) == ["instruction", "output", "generator", "dataset"]
    assert len(start.merge(policy, on="instruction")) == len(TEXTS)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("outputs")
    write_outputs(folder, record(texts))
    assert [row["output"] for row in read_outputs(folder / "start_outputs.json")] == texts


def test_lines_and_further_fields_are_read_too(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "n": {"x": 1}}, {"instruction": "a", "output": ""}]
    (tmp_path / "lines").write_text("\n\n".join(map(json.dumps, rows)))
    assert read_outputs(tmp_path / "lines") == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "has no rows"),
        ('[{"instruction": "a", "output": null}]', "row 1: 'output' is null: it must be a string"),
        ('[{"instruction": "a", "text": "b"}]', "no field 'output' but instruction, text"),
        ("{", "line 1 is not JSON"),
    ],
)
def test_what_is_no_outputs_file_is_said(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(BadOutputs, match=r"bad\.json") as caught:
        read_outputs(tmp_path / "bad.json")
    assert said in str(caught.value)

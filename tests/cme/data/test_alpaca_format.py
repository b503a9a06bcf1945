"""AlpacaEval's outputs: what a run leaves is what alpaca-eval itself reads, and what others wrote is read whole."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.data.alpaca_format import BadOutputs, read_outputs, write_outputs

TEXTS = ["12", "", 'a "quoted"\nline', "狐 and 🦊", "  spaces  ", "1999-01-01"]


def said(texts: list[str]) -> list[tuple[str, str]]:
    return [(f"prompt {n}", text) for n, text in enumerate(texts)]


def test_rows_are_in_order_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "start_outputs.json"
    write_outputs(path, said(TEXTS), "the/start", "world")
    rows = [
        {"instruction": f"prompt {n}", "output": text, "generator": "the/start", "dataset": "world"}
        for n, text in enumerate(TEXTS)
    ]
    assert json.loads(path.read_text()) == rows == read_outputs(path)


def test_alpaca_eval_reads_and_pairs_them(tmp_path: Path) -> None:
    level = logging.root.level
    from alpaca_eval import utils

    logging.root.setLevel(level)  # the import sets it to INFO
    for who, texts in (("start", TEXTS), ("policy", [text[::-1] for text in TEXTS])):
        write_outputs(tmp_path / f"{who}_outputs.json", said(texts), who, "world")
    start, policy = (
        utils.load_or_convert_to_dataframe(tmp_path / f"{w}_outputs.json") for w in ("start", "policy")
    )
    assert list(start["output"]) == TEXTS
    assert list(start.columns) == ["instruction", "output", "generator", "dataset"]
    assert len(start.merge(policy, on="instruction")) == len(TEXTS)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("outputs") / "outputs.json"
    write_outputs(path, said(texts), "a", "b")
    assert [row["output"] for row in read_outputs(path)] == texts


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

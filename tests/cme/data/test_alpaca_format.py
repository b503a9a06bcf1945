"""AlpacaEval's format: alpaca-eval reads the files we write, and we read those of others."""

import json
import logging
from pathlib import Path

import pytest

from cme.data.alpaca_format import BadOutputs, read_outputs, write_outputs

TEXTS = ["12", "", 'a "quoted"\nline', "狐 and 🦊", "  spaces  ", "1999-01-01"]


def outputs(texts: list[str]) -> list[tuple[str, str]]:
    return [(f"prompt {n}", text) for n, text in enumerate(texts)]


def test_alpaca_eval_reads_and_joins_them(tmp_path: Path) -> None:
    level = logging.root.level
    from alpaca_eval import utils

    logging.root.setLevel(level)  # the import sets it to INFO
    for who, texts in (("start", TEXTS), ("policy", [text[::-1] for text in TEXTS])):
        write_outputs(tmp_path / f"{who}_outputs.json", outputs(texts), who, "world")
    start, policy = (
        utils.load_or_convert_to_dataframe(tmp_path / f"{w}_outputs.json") for w in ("start", "policy")
    )
    assert list(start["output"]) == TEXTS
    assert [row["output"] for row in read_outputs(tmp_path / "start_outputs.json")] == TEXTS
    assert list(start.columns) == ["instruction", "output", "generator", "dataset"]
    assert len(start.merge(policy, on="instruction")) == len(TEXTS)


def test_json_lines_and_other_fields_are_accepted(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "n": {"x": 1}}, {"instruction": "a", "output": ""}]
    (tmp_path / "lines").write_text("\n\n".join(map(json.dumps, rows)))
    assert read_outputs(tmp_path / "lines") == rows


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "no rows"),
        ("[]", "no rows"),
        ('[{"instruction": "a", "output": null}]', r"row 1.*'output' is null"),
        ('[{"instruction": "a", "text": "b"}]', r"row 1.*'output'.*instruction, text"),
        ('[{"instruction": "a", "output": "\\ud83d"}]', r"row 1.*'output'.*surrogate"),
        ('["a"]', "row 1 is not an object"),
        ("{", "line 1 is not JSON"),
    ],
)
def test_a_bad_file_is_refused_by_row_and_field(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(BadOutputs, match=rf"bad\.json.*{named}"):
        read_outputs(tmp_path / "bad.json")

"""Scoring a file from the shell: the verifier's scores row by row, and one sentence about bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from verifiers import Folder, Tiny, make_verifier

from cme.checkpoints import Checkpoint
from cme.scoring import command_line
from cme.scoring.verifier import Score

Lines = Callable[..., list[dict[str, Any]]]
ROWS: list[dict[str, Any]] = [
    {"instruction": "what is 3 plus 4?", "output": "7.", "generator": "a", "n": 1},
    {"instruction": "name two animals.", "output": "fox, bear and some more words.", "cme": "was here"},
    {"instruction": "name two animals.", "output": "", "nested": {"é": [1, None]}},
    {"instruction": "", "output": "the fox\nis red — 狐", "dataset": None},
    {"instruction": "name two animals.", "output": "owl, fox."},
]


def write(path: Path, rows: list[Any], form: str = "lines") -> Path:
    if form == "lines":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "list":
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    else:  # what editors and other systems make of it
        text = "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_bytes(b"\xef\xbb\xbf\r\n" + text.encode())
    return path


def expected(
    verifier: Checkpoint, rows: list[dict[str, Any]], end: bool = False, most: int = 99
) -> list[Score]:
    prompts, responses = [row["instruction"] for row in rows], [row["output"] for row in rows]
    scorer = make_verifier(verifier, max_response_tokens=most)
    return scorer.score(prompts, responses, [end] * len(rows), entropy=True)


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The rows that the command writes to standard output; it must succeed."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        assert command_line.main([str(a) for a in arguments]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.parametrize("form", ["lines", "list", "windows"])
def test_rows_keep_their_fields_and_get_the_verifiers_values(
    tiny: Tiny, tiny_folder: Folder, tmp_path: Path, scored: Lines, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(command_line, "CHUNK", 2)
    file = write(tmp_path / "in", ROWS, form)
    found = scored("--verifier", tiny_folder("llama"), file)
    values = [row.pop("cme") for row in found]
    assert found == [{k: v for k, v in row.items() if k != "cme"} for row in ROWS]
    for value, one in zip(values, expected(tiny("llama"), ROWS), strict=True):
        assert set(value) == {"log_likelihood", "tokens", "truncated", "reason"}
        assert value["log_likelihood"] == pytest.approx(one.mean, abs=1e-5)
        assert (value["tokens"], value["truncated"], value["reason"]) == (one.tokens, False, one.reason)
    assert values[2] == {
        "log_likelihood": None,
        "tokens": 0,
        "truncated": False,
        "reason": "the response is empty",
    }


def test_options_reach_the_verifier(tiny: Tiny, tiny_folder: Folder, tmp_path: Path, scored: Lines) -> None:
    file = write(tmp_path / "in", [{"q": r["instruction"], "a": r["output"]} for r in ROWS])
    named = ("--verifier", tiny_folder("gemma"), "--prompt-field", "q", "--response-field", "a", file)
    verifier = tiny("gemma")
    cut = scored(*named, "--max-response-tokens", 5)
    ended = scored(*named, "--end-of-turn", "--entropy", "--batch-tokens", 1)
    for row, one in zip(cut, expected(verifier, ROWS, most=5), strict=True):
        assert row["cme"]["log_likelihood"] == pytest.approx(one.mean, abs=1e-5)
        assert row["cme"]["truncated"] == one.truncated and row["cme"]["tokens"] <= 5
    assert any(row["cme"]["truncated"] for row in cut)
    for row, one in zip(ended, expected(verifier, ROWS, end=True), strict=True):
        assert row["cme"]["log_likelihood"] == pytest.approx(one.mean, abs=1e-4)
        assert row["cme"]["entropy"] == pytest.approx(float(one.entropies.mean()), abs=1e-4)
        assert row["cme"]["tokens"] == one.tokens
    assert ended[2]["cme"]["tokens"] == 1, "an empty response whose turn ended has its end"
    half = scored(*named, "--dtype", "bfloat16", "--device", "cpu", "--max-prompt-tokens", 2)
    assert all(row["cme"]["truncated"] for row in half)
    assert half[4]["cme"]["log_likelihood"] != ended[4]["cme"]["log_likelihood"]


def test_summary_and_bar_go_to_standard_error(
    tiny: Tiny, tiny_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "in", ROWS)
    out = tmp_path / "out.jsonl"
    out.write_text("what was there before")
    arguments = ["--verifier", str(tiny_folder("qwen")), "--max-response-tokens", "5", str(file)]
    assert command_line.main([*arguments, "--out", str(out)]) == 0
    to_file = capsys.readouterr()
    assert to_file.out == ""
    assert "5 rows" in to_file.err
    of_each = expected(tiny("qwen"), ROWS, most=5)
    means = [one.mean for one in of_each if one.mean is not None]
    cut = sum(one.truncated for one in of_each)
    assert cut > 0
    assert to_file.err.splitlines()[-1] == (
        f"4 rows scored, 1 unscored, {cut} truncated; mean log-likelihood {sum(means) / 4:.4f} nats per token"
    )
    assert command_line.main(arguments) == 0
    assert capsys.readouterr().out == out.read_text()


def test_a_broken_verifier_gives_rows_a_reason(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tiny("qwen")
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    broken.model.save_pretrained(tmp_path / "broken")
    broken.tokenizer.save_pretrained(tmp_path / "broken")
    file = write(tmp_path / "in", ROWS[:1])
    assert command_line.main(["--verifier", str(tmp_path / "broken"), "--entropy", str(file)]) == 1
    written = capsys.readouterr()
    found = json.loads(written.out, parse_constant=pytest.fail)["cme"]
    assert (found["log_likelihood"], found["entropy"]) == (None, None)
    assert found["reason"] == "the verifier's log-likelihoods are not finite"
    assert written.err.splitlines()[-2:] == [
        "0 rows scored, 1 unscored, 0 truncated; mean log-likelihood none",
        "error: no row was scored: the verifier's log-likelihoods are not finite (1 of 1 rows)",
    ]


@pytest.mark.parametrize(("form", "good"), [("lines", 3), ("list", 2)])
def test_rows_before_a_bad_one_are_written(
    tiny_folder: Folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
    good: int,
) -> None:
    monkeypatch.setattr(command_line, "CHUNK", 2)
    file = write(tmp_path / "in", [*ROWS[:good], {"instruction": "a", "output": None}, ROWS[0]], form)
    assert command_line.main(["--verifier", str(tiny_folder("qwen")), str(file)]) == 2
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == good
    place = f"{'line' if form == 'lines' else 'row'} {good + 1}"
    assert written.err.splitlines()[-1] == f"error: {file}, {place}: 'output' is null: it must be a string"


def test_nan_in_a_row_becomes_null(tiny_folder: Folder, tmp_path: Path, scored: Lines) -> None:
    (tmp_path / "in").write_text('{"instruction": "a", "output": "fox", "before": NaN}')
    [row] = scored("--verifier", tiny_folder("qwen"), tmp_path / "in")
    assert row["before"] is None


BAD_FILES: list[tuple[bytes, str, list[str]]] = [
    (b" [ ]\n", "", []),
    (b"\nhello\n", "line 2", ["JSON"]),
    (b'{"instruction": "\xff", "output": "b"}', "line 1", ["JSON"]),
    (b'[\n"a"]', "row 1", ["instruction", "output"]),
    (b'{"instruction": "a", "response": "b"}', "line 1", ["'output'", "instruction, response", "--response-field"]),
    (b'{"instruction": "a", "output": "\\ud83d"}', "line 1", ["'output'", "surrogate"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "place", "named"), BAD_FILES)
def test_a_bad_first_row_is_reported_before_the_verifier_loads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    place: str,
    named: list[str],
) -> None:
    monkeypatch.setattr(command_line, "_load_verifier", pytest.fail)
    file, out = tmp_path / "in", tmp_path / "out"
    file.write_bytes(content)
    assert command_line.main(["--verifier", "any", "--out", str(out), str(file)]) == 2
    written = capsys.readouterr()
    assert written.err.startswith(f"error: {file}, {place}" if place else f"error: {file} ")
    assert all(word in written.err for word in named)
    assert written.err.count("\n") == 1 and not written.out and not out.exists()


def test_files_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "_load_verifier", pytest.fail)
    file, folder = write(tmp_path / "in", ROWS), tmp_path / "no" / "folder"
    for arguments, named in (
        ([tmp_path / "none"], f"error: {tmp_path / 'none'}: No such file or directory\n"),
        ([tmp_path], f"error: {tmp_path}: Is a directory\n"),
        (["--out", file, file], f"error: --out {file} is the input file"),
        (["--out", folder / "x", file], f"error: {folder / 'x'}: No such file or directory\n"),
        (["--out", tmp_path, file], f"error: {tmp_path}: Is a directory\n"),
    ):
        assert command_line.main(["--verifier", "any", *map(str, arguments)]) == 2
        assert capsys.readouterr().err.startswith(named)
    assert file.read_text(), "the input is unchanged"


def test_a_verifier_or_device_that_is_not_available(
    tiny_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "in", ROWS)
    (tmp_path / "config.json").write_text("{}")
    for arguments, named in (
        (["--verifier", "no/such-model"], "no/such-model"),
        (["--verifier", tmp_path], str(tmp_path)),
        (["--verifier", tiny_folder("qwen"), "--device", "nowhere"], "--device nowhere"),
    ):
        assert command_line.main([*map(str, arguments), str(file)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and named in error


def test_values_reach_the_verifiers_chat_template(
    tiny: Tiny, tmp_path: Path, scored: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    """A template that opens a thought is refused by default; with `enable_thinking` off, it is the plain one."""
    checkpoint = tiny("qwen")
    plain = str(checkpoint.tokenizer.chat_template)
    opened = "{% if add_generation_prompt and enable_thinking | default(true) %}<think>\n{% endif %}"
    folders = [tmp_path / "plain", tmp_path / "thinking"]
    for folder, template in zip(folders, (plain, plain + opened), strict=True):
        checkpoint.tokenizer.chat_template = template
        checkpoint.model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
    file = write(tmp_path / "in", ROWS)
    assert command_line.main(["--verifier", str(folders[1]), str(file)]) == 2
    assert "enable_thinking=false" in capsys.readouterr().err
    off = ("--chat-template-kwargs", '{"enable_thinking": false}')
    assert scored("--verifier", folders[1], *off, file) == scored("--verifier", folders[0], file)


@pytest.mark.parametrize(
    ("option", "value"), [("--chat-template-kwargs", "enable_thinking"), ("--max-response-tokens", "0")]
)
def test_values_of_options_are_checked(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["--verifier", "any", option, value, "in"])
    assert f"{value} is not a" in capsys.readouterr().err

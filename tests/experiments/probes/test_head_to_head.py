"""`cme judge` on two files of outputs."""

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT
from synthetic_records import sanity_record

from analysis.records.read import load_runs
from cme.records import Pair, SanityRecord, Verdict, read_record, write_record
from experiments.__main__ import main
from experiments.run import judging

COUNT = 40
PROMPTS = [f"prompt {n} " + "long " * (60 * (n % 3 == 0)) for n in range(COUNT)]


def outputs(path: Path, generator: str, prompts: list[str] = PROMPTS) -> Path:
    rows = [{"instruction": p, "output": f"{generator} on {p[:9]}", "generator": generator} for p in prompts]
    path.write_text(json.dumps(rows, indent=2))
    return path


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder with outputs of both sides."""
    outputs(tmp_path / "base_outputs.json", "org/base")
    outputs(tmp_path / "tuned_outputs.json", "runs/tuned")
    return tmp_path


def files(folder: Path) -> list[str]:
    return [f"--start={folder}/base_outputs.json", f"--policy={folder}/tuned_outputs.json"]


def test_two_files_are_judged_in_both_orders(
    released: Path,
    tiny_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At first the disk is full when the record is written: no verdict is lost."""
    for name in ("base", "tuned"):
        outputs(released / f"{name}.json", name, PROMPTS[1:3])
    command = [
        "judge", "--start", released / "base.json", "judge=local", "--policy", released / "tuned.json",
        "--name", "n", "--out", released / "out", f"judge.checkpoint={tiny_folder('qwen')}", "judge.tie_margin=0",
        "+judge.min_label_mass=0",
    ]  # fmt: skip

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert main(list(map(str, command))) == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert (
        ".record.json cannot be written (No space left on device): free some space there and repeat" in said
    )
    [log] = (released / "out").glob("*.verdicts.jsonl")
    judged = log.read_bytes()
    assert judged.count(b"\n") == 4
    assert main(list(map(str, command))) == 0
    assert log.read_bytes() == judged, "nothing is asked twice"
    [path] = (released / "out").glob("*.record.json")
    record = read_record(path)
    assert f"record: {path}" in capsys.readouterr().out
    assert (record.judge, record.regime, len(record.verdicts)) == ("local", "base", 2)
    assert all(v.orders is not None and None not in v.orders for v in record.verdicts)
    assert all(v.scores is not None and sum(v.scores) == pytest.approx(1, abs=2e-6) for v in record.verdicts)
    assert record.config["judge"]["checkpoint"] == str(tiny_folder("qwen")) and record.seconds["judge"] > 0
    assert main(list(map(str, command))) == 0
    assert log.read_bytes() == judged and read_record(path) == record, "nothing is asked twice"


def test_how_a_judge_is_reached_does_not_make_another_record(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for more in ("judge.max_calls=5", "judge.concurrency=2", "judge.max_response_chars=9"):
        words = [*files(released), f"--out={released / 'out'}", "--dry-run", "judge=openai", "judge.model=x"]
        assert main(["judge", *words, more]) == 0
        lines.append(capsys.readouterr().out.splitlines()[0])
    assert f"judge openai: {2 * COUNT} calls, " in lines[0]
    assert lines[0] == lines[1] != lines[2]
    assert not (released / "out").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("judge=locl", "judge=locl is unknown; did you mean local?"),
        ("judge=alpaca_eval judge.annotator=weighted", "has no configs.yaml"),
        ("judge=local judge.tie_margin=1", "tie_margin is 1"),
        *(
            (f"judge=local {word}", f"{word}: only settings of the judge and its data can be given")
            for word in ("plan=true", "+scale.build=2")
        ),
        ("judge=local judge.checkpoint=package:none", "checkpoint is 'package:none'"),
    ],
)
def test_a_judge_that_cannot_be_is_one_sentence(
    released: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    assert main(["judge", *files(released), "--name=n", f"--out={released / 'out'}", *override.split()]) == 2
    printed = capsys.readouterr().err
    assert said in printed and len(printed.splitlines()) == 1


def test_what_the_judge_lacks_is_said_before_any_call(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["judge", *files(released), f"--out={released / 'out'}"]
    mine = released / "mine.jsonl"
    rows = [{"instruction": p} | ({"output": p} if n < 2 else {}) for n, p in enumerate(PROMPTS)]
    mine.write_text("\n".join(map(json.dumps, rows)))
    correctness = ["judge=correctness", "judge.answers=number", f"--prompts={mine}"]
    for words, reason in (
        (
            ["judge=reference_similarity"],
            "reference_similarity can judge none of the pairs: the prompt has no ref",
        ),
        ([], "oracle can judge none of the pairs: it is unknown whether both responses are finished"),
        (correctness, "correctness can judge none of the pairs: the prompt has no gold answer"),
    ):
        assert main([*command, *words]) == 2
        printed = capsys.readouterr().err
        assert reason in printed and "--prompts" in printed and len(printed.splitlines()) == 1
    assert not (released / "out").exists()
    assert main([*command, f"--prompts={mine}", "judge=reference_similarity"]) == 0
    warning = (
        "judge=reference_similarity cannot judge 38 of 40 of the pairs: the prompt has no reference answer"
    )
    assert warning in capsys.readouterr().err
    [record] = load_runs([released / "out"])
    assert [pair.reference for pair in record.pairs] == [*PROMPTS[:2], *[None] * 38]
    assert sum(v.outcome != "unscored" for v in record.verdicts) == 4
    assert record.family == released.name and warning in record.warnings


def test_a_judge_that_scores_nothing_is_a_failure_with_its_reason(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verdicts_on(judge: object, pairs: list[Pair], *_: object) -> list[Verdict]:
        tie, none = {"outcome": "tie"}, {"outcome": "unscored", "reason": "it slept"}
        return [Verdict(p.prompt_id, True, **(tie if n < scored else none)) for n, p in enumerate(pairs)]

    monkeypatch.setattr(judging, "collect_verdicts", verdicts_on)
    for scored, code in ((0, 1), (1, 0), (COUNT, 0)):
        assert main(["judge", *files(released), f"--out={released / 'out'}", "judge=local"]) == code
        said = capsys.readouterr().err
        expected = f"local: {COUNT - scored} of {COUNT} verdicts are unscored, the first because it slept"
        assert (expected in said) == (scored < COUNT)


def test_the_line_says_whether_the_judge_passes_its_sanity_check(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our check of `local`, which fails, counts until the user's own results have one of the same settings."""
    monkeypatch.chdir(released)
    monkeypatch.setattr(
        judging,
        "collect_verdicts",
        lambda _, pairs, *__: [Verdict(p.prompt_id, True, "first") for p in pairs],
    )

    def said(*settings: str) -> tuple[str, bool]:
        assert main(["judge", *files(released), "--judge", "local", *settings]) == 0
        printed = capsys.readouterr()
        standing = re.search("judge fails its sanity check|judge not validated", printed.out)
        return standing[0] if standing else "", "judge_sanity scale=laptop judge=local`" in printed.err

    assert said() == ("judge fails its sanity check", False)
    assert said("judge.tie_margin=0.1") == ("judge not validated", True)
    [shipped] = (ROOT / "results/reference/laptop").glob("sanity-laptop-local-*.sanity.json")
    ours = read_record(shipped, SanityRecord)
    passing = replace(
        ours, verdicts=sanity_record(null=0, copied=0).verdicts, pairs={"null": [], "copied": []}
    )
    place = released / "results" / "runs" / "sanity-mine"
    place.mkdir(parents=True)
    write_record(place / "sanity.json", passing)
    assert said() == ("", False)


def test_a_place_for_records_that_is_a_file_is_refused_before_judging(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judging, "collect_verdicts", pytest.fail)
    monkeypatch.setattr(judging, "probe", pytest.fail)
    out = released / "out"
    out.write_text("mine")
    assert main(["judge", *files(released), f"--out={out}", "judge=local"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out} cannot be written") and out.read_text() == "mine"

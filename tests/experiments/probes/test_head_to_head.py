"""Published outputs and verdicts as records: the numbers are theirs, their failures are not ties, nothing is lost."""

import errno
import hashlib
import json
import os
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from synthetic_records import sanity_record

from analysis.records.read import load_runs
from analysis.tables.cells import Cell, build_cells
from cme.records import Pair, RunRecord, SanityRecord, Verdict, read_record, write_record
from experiments.__main__ import main
from experiments.run import judging

Folder = Callable[..., Path]
COUNT = 40
PROMPTS = [f"prompt {n} " + "long " * (60 * (n % 3 == 0)) for n in range(COUNT)]


def outputs(path: Path, generator: str, prompts: list[str] = PROMPTS) -> Path:
    rows = [{"instruction": p, "output": f"{generator} on {p[:9]}", "generator": generator} for p in prompts]
    path.write_text(json.dumps(rows, indent=2))
    return path


def sample(index: int, winner: str, order: str, instruction: str | None = None) -> dict[str, Any]:
    """One row as released: `winner` is a, b or tie."""
    verdict = "TIE" if winner == "tie" else "AB"[order.index(winner)]
    return {
        "index": index,
        "instruction": (PROMPTS[index] if instruction is None else instruction)[:200],
        "winner": winner,
        "winner_label": {"a": "base", "b": "tuned", "tie": "TIE"}[winner],
        "order_shown": order,
        "verdict": verdict,
        "reason": f"because of {index}",
    }


def failed(index: int) -> dict[str, Any]:
    return sample(index, "tie", "ab") | {"reason": "(judge error: ModuleNotFoundError: No module named 'x')"}


def verdicts(path: Path, samples: list[dict[str, Any]], labels: tuple[str, str] = ("base", "tuned")) -> Path:
    path.write_text(json.dumps({"label_a": labels[0], "label_b": labels[1], "per_sample": samples}))
    return path


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder with outputs of both sides."""
    outputs(tmp_path / "base_outputs.json", "org/base")
    outputs(tmp_path / "tuned_outputs.json", "runs/tuned")
    return tmp_path


@pytest.fixture
def imported(released: Path) -> Callable[..., list[RunRecord]]:
    def run(*arguments: object) -> list[RunRecord]:
        place = ("--name", "a name/with a slash", "--out", released / "records")
        assert main(["import", *files(released), *map(str, (*place, *arguments))]) == 0
        return load_runs([released / "records"])

    return run


def files(folder: Path) -> list[str]:
    return [f"--start={folder}/base_outputs.json", f"--policy={folder}/tuned_outputs.json"]


def cell(record: RunRecord) -> Cell:
    [found] = build_cells([record])
    return found


def test_the_win_rate_is_that_of_the_counts(released: Path, imported: Callable[..., list[RunRecord]]) -> None:
    drawn = random.Random(1)
    winners = ["b"] * 24 + ["a"] * 9 + ["tie"] * 7
    samples = [sample(n, w, drawn.choice(["ab", "ba"])) for n, w in enumerate(drawn.sample(winners, COUNT))]
    [record] = imported("--verdicts", verdicts(released / "judge_base_vs_tuned__gpt-x.json", samples))
    found = cell(record)
    assert found.win.rate == pytest.approx(100 * (24 + 7 / 2) / 40)
    assert (found.win.prompts, found.win.verdicts, found.win.unscored) == (40, 40, 0)
    assert found.win.lo < found.win.rate < found.win.hi
    first = sum(s["verdict"] == "A" for s in samples)
    assert found.first_shown == pytest.approx(100 * first / 33)
    assert (record.scale, record.judge, record.reward, record.regime) == (
        "imported",
        "gpt-x",
        "imported",
        "base",
    )
    assert record.generator_checkpoint == "org/base" and record.environment["policy"] == "runs/tuned"
    assert record.history == {} and record.seconds == {}
    assert record.warnings == [
        "7 ties count as ties: only a reason that begins with '(judge error' tells a failed call from a tie"
    ]
    assert [v.note for v in record.verdicts] == [f"because of {n}" for n in range(COUNT)]
    assert [p.policy.response for p in record.pairs] == [f"runs/tuned on {p[:9]}" for p in PROMPTS]
    assert {(p.start.tokens, p.start.finished) for p in record.pairs} == {(None, None)}


def test_verdicts_that_all_failed_are_no_success(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = verdicts(released / "judge_base_vs_tuned__down.json", [failed(n) for n in range(COUNT)])
    for where in ([str(released)], [*files(released), f"--verdicts={broken}"]):
        assert main(["import", *where, f"--out={released / 'records'}"]) == 1
        said = capsys.readouterr()
        assert "40 verdicts, 40 unscored" in said.out and "50.0 %" not in said.out
        assert "40 of 40 verdicts unscored: (judge error: ModuleNotFoundError" in said.err
        assert said.err.endswith("no verdict is scored, so there is no win rate\n")


def test_differing_prompts_are_counted_and_named(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    outputs(released / "tuned_outputs.json", "runs/tuned", ["only here", *reversed(PROMPTS[2:])])
    file = verdicts(released / "judge__x.json", [sample(n, "b", "ab") for n in range(COUNT)])
    [record] = imported("--verdicts", file)
    assert [p.prompt for p in record.pairs] == PROMPTS[2:]
    assert all(p.policy.response == f"runs/tuned on {p.prompt[:9]}" for p in record.pairs)
    assert len(record.verdicts) == COUNT - 2 and cell(record).win.rate == 100
    alone, here, strays = record.warnings
    assert alone.startswith("2 prompts are only in base_outputs.json") and "'prompt 1 '" in alone
    assert here == "1 prompts are only in tuned_outputs.json and are not compared: 'only here'"
    assert strays.startswith("2 verdicts are on no pair and are left out") and "'prompt 1 '" in strays


def test_verdicts_that_do_not_fit_are_unscored(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    samples = [sample(n, "b", "ab") for n in range(COUNT - 1)]  # none on the last
    samples[3] |= {"instruction": "another"}
    samples[4] |= {"instruction": PROMPTS[4][:3]}
    samples[5] |= {"winner": "a"}  # against its verdict
    samples[6] |= {"verdict": "C"}
    samples[7] |= {"winner": ""}
    samples[8] |= {"winner": None, "verdict": "TIE"}
    samples[9] |= {"winner": ["a"]}
    samples[10] |= {"verdict": "", "winner": "tie"}
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    why = {v.prompt_id: v.reason for v in record.verdicts if v.outcome == "unscored"}
    assert list(why) == ["3", "4", "5", "6", "7", "8", "9", "10", "39"]
    assert [why[n] for n in ("7", "8", "9")] == [
        f"the winner is {winner}; it must be a, b or tie" for winner in ("''", "None", "['a']")
    ]
    assert why["10"] == "the verdict is ''; it must be A, B or TIE"
    assert why["3"] == why["4"] == "the verdict is on another instruction than the outputs'"
    assert why["5"] == "the verdict B in the order ab contradicts the winner a"
    assert why["6"] == "the verdict is 'C'; it must be A, B or TIE"
    assert why["39"] == "the file has no verdict on it"
    found = cell(record).win
    assert (found.verdicts, found.unscored, found.rate) == (40, 9, 100)
    assert record.warnings[0] == (
        f"2 verdicts are on other instructions than the outputs': {PROMPTS[3][:60] + '...'!r}, 'prompt 4 '"
    )


def test_reasons_are_kept_as_far_as_they_can_be_written(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    samples = [sample(n, "b", "ab") for n in range(COUNT)]
    samples[0] |= {"reason": None}
    samples[1] |= {"reason": "half \ud83d a pair"}
    samples[2] |= {"reason": "(judge error: \udc00)", "winner": "tie", "verdict": "TIE"}
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    assert [v.note for v in record.verdicts[:2]] == [None, "half ? a pair"]
    assert record.verdicts[2].reason == "(judge error: ?)"


def test_an_order_that_the_file_lacks_is_unscored(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    samples = [sample(n, "b", order) for n in range(COUNT) for order in ("ab", "ba")][1:]
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    assert len(record.verdicts) == 2 * COUNT
    [lacking] = [v for v in record.verdicts if v.outcome == "unscored"]
    assert (lacking.prompt_id, lacking.policy_first) == ("0", False)
    assert lacking.reason == "the file has no verdict on it in this order"


def test_verdicts_read_again_take_the_place_of_those_before(
    released: Path, imported: Callable[..., list[RunRecord]], capsys: pytest.CaptureFixture[str]
) -> None:
    for winner, rate in (("b", 100), ("a", 0)):
        samples = [sample(n, winner, "ab") for n in range(COUNT)]
        [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
        assert cell(record).win.rate == rate and cell(record).win.verdicts == COUNT
    assert "is overwritten: same name, outputs and judge" in capsys.readouterr().err


def test_other_outputs_under_the_same_names_are_never_pooled(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    file = verdicts(released / "judge__x.json", [sample(n, "b", "ab") for n in range(COUNT)])
    imported("--verdicts", file)
    outputs(released / "tuned_outputs.json", "runs/another")
    records = imported("--verdicts", file)
    assert len(records) == len(build_cells(records)) == 2
    assert {found.win.verdicts for found in build_cells(records)} == {COUNT}
    digests = [record.config["imported"]["outputs"] for record in records]
    assert {found.method for found in build_cells(records)} == {
        f"tuned (imported.outputs={digest})" for digest in digests
    }


def test_an_imported_judge_of_the_generators_family_is_flagged(
    released: Path, imported: Callable[..., list[RunRecord]], capsys: pytest.CaptureFixture[str]
) -> None:
    outputs(released / "tuned_outputs.json", "Qwen/Qwen2.5-7B-Instruct")
    file = verdicts(released / "judge__qwen-max.json", [sample(n, "b", "ab") for n in range(COUNT)])
    [record] = imported("--verdicts", file)
    assert record.warnings == ["judge=qwen-max is of the family of the generator (qwen)"]
    assert "warning: qwen-max: judge=qwen-max is of the family" in capsys.readouterr().err


def test_prompts_that_come_twice_are_paired_in_their_order(released: Path) -> None:
    twice = ["same", "other", "same"]
    for name in ("base", "tuned"):
        rows = [{"instruction": p, "output": f"{name} {n}"} for n, p in enumerate(twice)]
        (released / f"{name}_outputs.json").write_text(json.dumps(rows if name == "base" else rows[::-1]))
    file = verdicts(released / "judge__x.json", [sample(n, "b", "ab", twice[n]) for n in range(3)])
    assert (
        main(["import", *files(released), f"--verdicts={file}", "--name=n", f"--out={released / 'out'}"]) == 0
    )
    [record] = load_runs([released / "out"])
    assert [(p.prompt_id, p.start.response, p.policy.response) for p in record.pairs] == [
        ("0", "base 0", "tuned 2"),
        ("1", "base 1", "tuned 1"),
        ("2", "base 2", "tuned 0"),
    ]


def test_what_cannot_be_imported_is_one_sentence(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [sample(n, "b", "ab") for n in range(COUNT)]
    place = ["--name=n", f"--out={released / 'out'}"]
    base, tuned = f"--start={released}/base_outputs.json", f"--policy={released}/tuned_outputs.json"

    def said(*arguments: object) -> str:
        assert main(["import", *map(str, arguments), *place]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and len(printed.err.splitlines()) == 1
        return printed.err

    file = verdicts(released / "judge__x.json", good)
    other = verdicts(released / "judge__y.json", good, ("base", "finetuned"))
    assert "compares 'base' with 'finetuned'" in said(base, tuned, f"--verdicts={other}")
    assert "--policy-label" in said(base, tuned, f"--verdicts={other}")
    twice = verdicts(released / "judge__z.json", [*good, good[7]])
    assert "two verdicts on index 7 in the order ab" in said(base, tuned, f"--verdicts={twice}")
    lacks = verdicts(released / "judge__w.json", [{"index": 0, "instruction": "a"}])
    assert "must have index, instruction, order_shown" in said(base, tuned, f"--verdicts={lacks}")
    null = released / "judge__n.json"
    null.write_text('{"label_a": "base", "label_b": "tuned", "per_sample": null}')
    assert "per_sample is None; it must be a list" in said(base, tuned, f"--verdicts={null}")
    odd = [good[0] | {"index": [1]}, good[1] | {"verdict": ["A"]}]
    file_of_odd = verdicts(released / "judge__odd.json", odd)
    assert (
        main(["import", base, tuned, f"--verdicts={file_of_odd}", "--name=n", f"--out={released / 'odd'}"])
        == 1
    )
    assert "the verdict is ['A']; it must be A, B or TIE" in capsys.readouterr().err
    assert "must have label_a" in said(base, tuned, f"--verdicts={released}/base_outputs.json")
    assert "no prompt in common" in said(
        base, f"--policy={outputs(released / 'q.json', 'q', ['x'])}", f"--verdicts={file}"
    )
    assert "two files are of one judge" in said(base, tuned, f"--verdicts={file}", f"--verdicts={file}")
    assert "none.json" in said(base, f"--policy={released}/none.json", f"--verdicts={file}")
    assert not (released / "out").exists()
    named = ["--policy-label=finetuned", f"--verdicts={other}"]
    assert main(["import", base, tuned, *named, *place]) == 0


def test_two_files_are_judged_in_both_orders(
    released: Path,
    tiny_folder: Folder,
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
        command = [
            "judge",
            *files(released),
            "--name=n",
            f"--out={released / 'out'}",
            "--dry-run",
            "judge=openai",
        ]
        assert main([*command, "judge.model=x", more]) == 0
        lines.append(capsys.readouterr().out.splitlines()[0])
    assert f"judge openai: {2 * COUNT} calls, " in lines[0]
    assert lines[0] == lines[1] != lines[2]
    assert not (released / "out").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("judge=locl", "judge=locl is unknown; did you mean local?"),
        ("judge.margin=2", "there is no field judge.margin"),
        ("judge=alpaca_eval judge.annotator=weighted", "has no configs.yaml"),
        ("judge=local judge.tie_margin=1", "tie_margin is 1"),
        *(
            (f"judge=local {word}", f"{word}: only settings of the judge and its data can be given")
            for word in ("plan=true", "evaluation.both_orders=false", "seed=1", "+scale.build=2")
        ),
        ("judge=local judge.dtype=float12", "it must be one of float32, bfloat16, float16"),
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


def test_a_folder_is_imported_at_once(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs(released / "instruct.json", "org/instruct")
    winners = ["b"] * 20 + ["a"] * 15 + ["tie"] * 5
    samples = [sample(n, w, "ab") for n, w in enumerate(winners)]
    verdicts(released / "judge_base_vs_tuned__x.json", samples)
    verdicts(released / "judge_base_vs_tuned__y.json", [failed(n) for n in range(COUNT)])
    verdicts(released / "judge_tuned_vs_instruct__x.json", samples, ("tuned", "instruct"))
    assert main(["import", str(released), f"--out={released / 'out'}", "--name=n"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("record")]
    assert [re.sub(r" \[.*?\]", "", line.partition("; ")[0]) for line in lines] == [
        "x: n: tuned against base: win rate 56.2 %, 20 wins, 5 ties, 15 losses "
        "(40 prompts, 40 verdicts, 0 unscored)",
        "y: n: tuned against base: win rate n/a %, 0 wins, 0 ties, 0 losses "
        "(40 prompts, 40 verdicts, 40 unscored)",
        "x: n: tuned against instruct: win rate 43.8 %, 15 wins, 5 ties, 20 losses "
        "(40 prompts, 40 verdicts, 0 unscored)",
    ]
    other = ["import", str(released), f"--out={released / 'other'}", "--policy-label=instruct"]
    assert main(other) == 0
    rates = {
        (r.config["imported"]["policy"], r.judge): cell(r).win.rate for r in load_runs([released / "other"])
    }
    assert rates["instruct", "x"] == pytest.approx(100 - 43.75) and rates["tuned", "x"] == pytest.approx(
        56.25
    )
    capsys.readouterr()
    (released / "instruct.json").unlink()
    for words, reason in (
        ([str(released)], "has verdicts on 'instruct', but neither instruct_outputs.json nor instruct.json"),
        ([str(released), "--policy-label=tund"], "compares 'tund', only base, instruct, tuned"),
        ([str(released / "out")], "has no file of verdicts"),
        ([], "give a folder, or all of --start, --policy and --verdicts"),
    ):
        assert main(["import", *words, f"--out={released / 'no'}"]) == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"length_a": 17}, "length_a is 17 at index 3, but that of the output is 21"),
        ({"digest_b": "0" * 64}, f"digest_b is {'0' * 64} at index 3, but that of the output is "),
        ({"instruction": "another"}, None),
        ({"length_a": 21, "digest_b": hashlib.sha256(b"runs/tuned on prompt 3 ").hexdigest().upper()}, None),
    ],
)
def test_verdicts_on_other_texts_are_refused(
    released: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], reason: str | None
) -> None:
    samples = [sample(n, "b", "ab") for n in range(COUNT)]
    samples[3] |= changes
    file = verdicts(released / "judge__x.json", samples)
    command = ["import", *files(released), f"--verdicts={file}", f"--out={released / 'out'}"]
    assert main(command) == (0 if reason is None else 2)
    assert str(reason or "") in capsys.readouterr().err
    swapped = ["import", f"--start={released}/tuned_outputs.json", f"--policy={released}/base_outputs.json"]
    assert main([*swapped, *command[3:]]) == (0 if reason is None else 2)


def test_verdicts_mostly_on_other_instructions_are_refused(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [sample(n, "b", "ab", PROMPTS[n] if n < 19 else "another") for n in range(COUNT)]
    file = verdicts(released / "judge__x.json", samples)
    assert main(["import", *files(released), f"--verdicts={file}", f"--out={released / 'out'}"]) == 2
    assert "21 of 40 verdicts are on other instructions than the outputs" in capsys.readouterr().err


def test_counts_that_contradict_the_rows_are_named(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    file = verdicts(released / "judge__x.json", [sample(n, "b", "ab") for n in range(COUNT)])
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"wins_a": 0, "wins_b": 41, "ties": 0, "total": 40})
    )
    [record] = imported("--verdicts", file)
    assert record.warnings == ["the file gives wins_b=41, but its rows have 40"]


def test_reports_do_not_claim_what_was_not_trained_here(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    from analysis.__main__ import main as analyse

    imported("--verdicts", verdicts(released / "judge__x.json", [sample(n, "b", "ab") for n in range(COUNT)]))
    assert analyse([str(released / "records")]) == 0
    table = (released / "records" / "analysis" / "tables" / "imported.md").read_text()
    assert "Win rate against the outputs of base (%), scale: imported, judge: x" in table
    assert "trained" not in table and "100.0 [" in table
    report = (released / "records" / "analysis" / "report.html").read_text()
    assert "nothing was trained here" in report

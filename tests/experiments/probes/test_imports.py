"""Published outputs and verdicts as records: the numbers are theirs, their failures are not ties, nothing is lost."""

import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.records.read import load_runs
from analysis.tables.cells import Cell, build_cells
from cme.records import RunRecord
from experiments.__main__ import main

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


def all_won() -> list[dict[str, Any]]:
    """Verdicts on all pairs for the tuned model."""
    return [sample(n, "b", "ab") for n in range(COUNT)]


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
    file = verdicts(released / "judge__x.json", all_won())
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
    samples[9] |= {"winner": ["a"]}
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    why = {v.prompt_id: v.reason for v in record.verdicts if v.outcome == "unscored"}
    assert list(why) == ["3", "4", "5", "6", "9", "39"]
    assert why["9"] == "the winner is ['a']; it must be a, b or tie"
    assert why["3"] == why["4"] == "the verdict is on another instruction than the outputs'"
    assert why["5"] == "the verdict B in the order ab contradicts the winner a"
    assert why["6"] == "the verdict is 'C'; it must be A, B or TIE"
    assert why["39"] == "the file has no verdict on it"
    found = cell(record).win
    assert (found.verdicts, found.unscored, found.rate) == (40, 6, 100)
    assert record.warnings[0].startswith("2 verdicts are on other instructions than the outputs'")


def test_an_order_that_the_file_lacks_is_unscored(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    samples = [sample(n, "b", order) for n in range(COUNT) for order in ("ab", "ba")][1:]
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    assert len(record.verdicts) == 2 * COUNT
    [lacking] = [v for v in record.verdicts if v.outcome == "unscored"]
    assert (lacking.prompt_id, lacking.policy_first) == ("0", False)
    assert lacking.reason == "the file has no verdict on it in this order"


def test_verdicts_read_again_overwrite_and_other_outputs_are_never_pooled(
    released: Path, imported: Callable[..., list[RunRecord]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = verdicts(released / "judge__x.json", all_won())
    imported("--verdicts", file)
    [record] = imported("--verdicts", file)
    assert cell(record).win.verdicts == COUNT
    assert "is overwritten: same name, outputs and judge" in capsys.readouterr().err
    outputs(released / "tuned_outputs.json", "runs/another")
    records = imported("--verdicts", file)
    assert len(records) == len(build_cells(records)) == 2
    assert {found.win.verdicts for found in build_cells(records)} == {COUNT}
    digests = [record.config["imported"]["outputs"] for record in records]
    assert {found.method for found in build_cells(records)} == {
        f"tuned (imported.outputs={digest})" for digest in digests
    }


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


@pytest.mark.parametrize(
    ("rows", "policy", "said"),
    [
        (all_won(), "tuned_outputs.json", None),
        ([*all_won(), sample(7, "b", "ab")], "tuned_outputs.json", "two verdicts on index 7 in the order ab"),
        ([{"index": 0, "instruction": "a"}], "tuned_outputs.json", "must have index, instruction, order_shown"),
        (None, "tuned_outputs.json", "per_sample is None; it must be a list"),
        ([sample(n, "b", "ab", PROMPTS[n] if n < 19 else "another") for n in range(COUNT)], "tuned_outputs.json",
         "21 of 40 verdicts are on other instructions than the outputs"),
        (all_won(), "other.json", "no prompt in common"),
        (all_won(), "base_outputs.json", "have the label 'base'"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_sentence(
    released: Path, capsys: pytest.CaptureFixture[str], rows: Any, policy: str, said: str | None
) -> None:
    outputs(released / "other.json", "q", ["x"])
    place = [
        f"--start={released}/base_outputs.json",
        f"--policy={released / policy}",
        f"--out={released / 'out'}",
    ]
    file = verdicts(released / "judge__x.json", rows)
    assert main(["import", *place, f"--verdicts={file}"]) == (0 if said is None else 2)
    printed = capsys.readouterr().err
    assert (released / "out").exists() == (said is None)
    assert said is None or (said in printed and len(printed.splitlines()) == 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{files}", "--verdicts={other}"], "compares 'base' with 'finetuned'"),
        (["{files}", "--verdicts={start}"], "must be JSON with label_a, label_b and per_sample"),
        (["{files}", "--verdicts={other}", "--verdicts={other}"], "two files are of one judge"),
        (["{files}", "{folder}", "--verdicts={other}"], "give either a folder, or"),
        (["{files}"], "give a folder, or all of --start, --policy and --verdicts"),
        (["{folder}"], "has verdicts on 'finetuned', but neither finetuned_outputs.json nor finetuned.json"),
        (["{folder}", "--policy-label=tund"], "compares 'tund', only base, finetuned"),
        (["{folder}/empty"], "has no file of verdicts"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    released: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    other = verdicts(released / "judge__y.json", all_won(), ("base", "finetuned"))
    places = {"folder": released, "other": other, "start": released / "base_outputs.json"}
    given = [
        part for word in words for part in (files(released) if word == "{files}" else [word.format(**places)])
    ]
    assert main(["import", *given, f"--out={released / 'out'}"]) == 2
    assert said in capsys.readouterr().err and not (released / "out").exists()


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
    out = released / "other"
    assert main(["import", str(released), f"--out={out}", "--policy-label=instruct"]) == 0
    rates = {(r.config["imported"]["policy"], r.judge): cell(r).win.rate for r in load_runs([out])}
    assert rates["instruct", "x"] == pytest.approx(100 - 43.75) and rates["tuned", "x"] == pytest.approx(
        56.25
    )


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
    samples = all_won()
    samples[3] |= changes
    file = verdicts(released / "judge__x.json", samples)
    command = ["import", *files(released), f"--verdicts={file}", f"--out={released / 'out'}"]
    assert main(command) == (0 if reason is None else 2)
    assert str(reason or "") in capsys.readouterr().err
    swapped = ["import", f"--start={released}/tuned_outputs.json", f"--policy={released}/base_outputs.json"]
    assert main([*swapped, *command[3:]]) == (0 if reason is None else 2)


def test_reasons_are_kept_as_far_as_they_can_be_written(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    samples = all_won()
    samples[0] |= {"reason": None}
    samples[1] |= {"reason": "half \ud83d a pair"}
    samples[2] |= {"reason": "(judge error: \udc00)", "winner": "tie", "verdict": "TIE"}
    [record] = imported("--verdicts", verdicts(released / "judge__x.json", samples))
    assert [v.note for v in record.verdicts[:2]] == [None, "half ? a pair"]
    assert record.verdicts[2].reason == "(judge error: ?)"


def test_an_imported_judge_of_the_generators_family_is_flagged(
    released: Path, imported: Callable[..., list[RunRecord]], capsys: pytest.CaptureFixture[str]
) -> None:
    outputs(released / "tuned_outputs.json", "Qwen/Qwen2.5-7B-Instruct")
    file = verdicts(released / "judge__qwen-max.json", all_won())
    [record] = imported("--verdicts", file)
    assert record.warnings == ["judge=qwen-max is of the family of the generator (qwen)"]
    assert "warning: qwen-max: judge=qwen-max is of the family" in capsys.readouterr().err


def test_reports_do_not_claim_what_was_not_trained_here(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    from analysis.__main__ import main as analyse

    imported("--verdicts", verdicts(released / "judge__x.json", all_won()))
    assert analyse([str(released / "records")]) == 0
    table = (released / "records" / "analysis" / "tables" / "imported.md").read_text()
    assert "Win rate against the outputs of base (%), scale: imported, judge: x" in table
    assert "trained" not in table and "100.0 [" in table
    report = (released / "records" / "analysis" / "report.html").read_text()
    assert "nothing was trained here" in report


def test_counts_that_contradict_the_rows_are_named(
    released: Path, imported: Callable[..., list[RunRecord]]
) -> None:
    file = verdicts(released / "judge__x.json", all_won())
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"wins_a": 0, "wins_b": 41, "ties": 0, "total": 40})
    )
    [record] = imported("--verdicts", file)
    assert record.warnings == ["the file gives wins_b=41, but its rows have 40"]

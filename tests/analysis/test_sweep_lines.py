"""The lines at the end of a sweep, and of `resume`: one per run, told apart by what differs between the runs."""

from pathlib import Path

import pandas as pd
import pytest

from cme.records import write_record
from experiments.__main__ import main
from experiments.sweep import ledger, report, runner
from experiments.sweep.ledger import Entry

pytestmark = pytest.mark.usefixtures("undrawn")


def test_each_line_begins_with_what_differs(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = {}
    for number, beta in enumerate(("0", "0.1", "0.2")):
        record = make_record(seed=number)
        write_record(tmp_path / record.run_id / "record.json", record)
        cells[tmp_path / record.run_id / "record.json"] = [
            "family=qwen",
            f"trainer.beta={beta}",
            f"seed={number}",
        ]
    cells[tmp_path / "not" / "record.json"] = ["reward=length"]
    report.print_report(tmp_path, cells)
    *lines, last = capsys.readouterr().out.splitlines()
    starts = [f"trainer.beta={beta} seed={n}: miniature: qwen" for n, beta in enumerate(("0", "0.1", "0.2"))]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts
    assert last.startswith("report: ")


def test_each_data_set_has_a_report_of_its_own(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = {}
    for number, data in enumerate(("world", "arithmetic", "world")):
        record = make_record(seed=number, config={"seed": number, "data": {"name": data}})
        write_record(tmp_path / record.run_id / "record.json", record)
        cells[tmp_path / record.run_id / "record.json"] = [f"seed={number}"]
    report.print_report(tmp_path, cells)
    lines = capsys.readouterr().out.splitlines()[3:]
    starts = ["report on world: ", "report on arithmetic: "]
    pages = [Path(line.removeprefix(start)) for line, start in zip(lines, starts, strict=True)]
    seeds = [pd.read_csv(page.parent / "tables" / "miniature.csv", dtype=str)["seeds"] for page in pages]
    assert [list(of_page) for of_page in seeds] == [["0 2"], ["1"]]


def test_one_run_has_its_seconds_in_parts_and_in_all(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(seconds={"train": 20.0, "train: sampling": 12.5, "judge": 1.5})
    write_record(tmp_path / "one" / "record.json", record)
    report.print_report(tmp_path, {tmp_path / "one" / "record.json": ["seed=0"]})
    line, seconds, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("miniature: qwen")
    assert seconds == "seconds: train 20.0, train: sampling 12.5, judge 1.5, total 21.5"


def test_resume_prints_results_and_report(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[list[str]], arguments: list[str], function: object) -> None:
        for own in words:
            record = make_record(seed=int(own[-2].removeprefix("seed=")))
            write_record(tmp_path / f"run-{record.seed}" / "record.json", record)

    monkeypatch.setattr(runner, "_prepare_entries", lambda batch, *_: (batch, []))
    monkeypatch.setattr(runner.launchers, "launch", run)
    entries = [Entry(f"run-{n}", "miniature", None, ["family=qwen", f"seed={n}"]) for n in (3, 4)]
    ledger.add_entries(tmp_path, entries)
    assert main(["resume", f"results_dir={tmp_path}"]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("seed=3: miniature: qwen") and second.startswith("seed=4: miniature: qwen")
    assert Path(last.removeprefix("report: ")).exists()

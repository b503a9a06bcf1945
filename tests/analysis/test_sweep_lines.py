"""The lines at the end of a sweep, and of `resume`: one per run, told apart by what differs between the runs."""

from pathlib import Path

import pandas as pd
import pytest

from cme.records import RunRecord, write_record
from experiments.__main__ import main
from experiments.sweep import ledger, report, runner
from experiments.sweep.ledger import Entry

pytestmark = pytest.mark.usefixtures("undrawn")


def recorded(folder: Path, *records: RunRecord) -> list[Path]:
    """The files of the records."""
    paths = [folder / record.run_id / "record.json" for record in records]
    for path, record in zip(paths, records, strict=True):
        write_record(path, record)
    return paths


def test_each_line_begins_with_what_differs(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = recorded(tmp_path, *(make_record(seed=number) for number in range(3)))
    words = [f"trainer.beta=0.{number} seed={number}" for number in range(3)]
    cells = {path: ["family=qwen", *own.split()] for path, own in zip(paths, words, strict=True)}
    report.print_report(tmp_path, cells | {tmp_path / "not" / "record.json": ["reward=length"]})
    *lines, last = capsys.readouterr().out.splitlines()
    for line, own in zip(lines, words, strict=True):
        assert line.startswith(f"{own}: miniature: qwen")
    assert last.startswith("report: ")


def test_each_data_set_has_a_report_of_its_own(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = [{"data": {"name": data}} for data in ("world", "arithmetic", "world")]
    records = [make_record(seed=number, config=config) for number, config in enumerate(configs)]
    report.print_report(
        tmp_path, {path: [f"seed={n}"] for n, path in enumerate(recorded(tmp_path, *records))}
    )
    lines = capsys.readouterr().out.splitlines()[3:]
    starts = ["report on world: ", "report on arithmetic: "]
    pages = [Path(line.removeprefix(start)) for line, start in zip(lines, starts, strict=True)]
    seeds = [pd.read_csv(page.parent / "tables" / "miniature.csv", dtype=str)["seeds"] for page in pages]
    assert [list(of_page) for of_page in seeds] == [["0 2"], ["1"]]


def test_one_run_has_its_seconds_in_parts_and_in_all(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(seconds={"train": 20.0, "train: sampling": 12.5, "judge": 1.5})
    [path] = recorded(tmp_path, record)
    report.print_report(tmp_path, {path: ["seed=0"]})
    line, seconds, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("miniature: qwen")
    assert seconds == "seconds: train 20.0, train: sampling 12.5, judge 1.5, total 21.5"


def test_resume_prints_results_and_report(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[list[str]], arguments: list[str], function: object) -> None:
        for own in words:
            seed = own[-2].removeprefix("seed=")
            recorded(tmp_path, make_record(seed=int(seed), run_id=f"run-{seed}"))

    monkeypatch.setattr(runner, "_prepare_entries", lambda batch, *_: (batch, []))
    monkeypatch.setattr(runner.launchers, "launch", run)
    entries = [Entry(f"run-{n}", "miniature", None, ["family=qwen", f"seed={n}"]) for n in (3, 4)]
    ledger.add_entries(tmp_path, entries)
    assert main(["resume", f"results_dir={tmp_path}"]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("seed=3: miniature: qwen") and second.startswith("seed=4: miniature: qwen")
    assert Path(last.removeprefix("report: ")).exists()

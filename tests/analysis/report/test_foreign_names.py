"""Names in records from elsewhere stay text: in file names, in CSV files and on the terminal."""

import csv
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_records import sanity_record, separation_record

from analysis import build, summarize
from analysis.sections.base import write_tables
from analysis.tables.render import Entry, Table, to_markdown
from cme.records import ExperimentRecord, write_record

EVIL = "x/../../../../../../evil"


@pytest.mark.usefixtures("undrawn")
def test_no_name_leaves_the_folder(make_record, tmp_path: Path) -> None:
    names = {"scale": EVIL, "family": EVIL, "reward": EVIL, "verifier": EVIL, "judge": EVIL, "run_id": EVIL}
    runs = [make_record(), make_record(**names)]
    records = {
        "a.record.json": runs[0],
        "b.record.json": runs[1],
        "sanity.json": replace(
            sanity_record(null=0.0), scale=EVIL, judge=EVIL, pairs={"null": runs[0].pairs}
        ),
        "separation.json": separation_record(scale=EVIL, data=EVIL, family=EVIL, verifier=EVIL),
        "own.experiment.json": ExperimentRecord(EVIL, EVIL, [run.run_id for run in runs]),
        "main.experiment.json": ExperimentRecord("main_table", EVIL, [EVIL]),
    }
    depth = tmp_path / "1/2/3/4/5/6/7/8"
    for name, record in records.items():
        write_record(depth / "records" / name, record)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    report = build([depth / "records"], depth / "out")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert report in written
    assert all(path.is_relative_to(depth / "out") for path in written), written


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+SUM(A1)", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1"])
def test_no_entry_of_a_csv_file_is_a_formula(tmp_path: Path, text: str) -> None:
    frame = pd.DataFrame(
        {
            "name": [text, "- - + -", "-0.5", "\x1b\r=1"],
            "number": [-1, 2, 3, 4],
            "maybe": pd.Series([1, None, 2, 3], dtype=object),
        }
    )
    write_tables([], frame, tmp_path / "x")
    with (tmp_path / "x.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "number", "maybe"]
    assert [row[0] for row in rows] == [f"'{text}", "- - + -", "-0.5", r"\x1b\r=1"]
    assert [row[1:] for row in rows] == [["-1", "1"], ["2", ""], ["3", "2"], ["4", "3"]]


def test_no_name_reaches_the_terminal_as_it_is(make_record) -> None:
    line = summarize([make_record(family="\x1b[2Jq", stopped="\x1b[8mno")])
    table = to_markdown(Table("t", "\x1b[2J", ["\x9b1m"], [[[Entry("\x07x")]]], ["\x1b]0;y"]))
    assert not any(ord(character) < 32 and character != "\n" for character in line + table)
    assert "\x9b" not in table and r"\x1b[2Jq" in line

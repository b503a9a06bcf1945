"""Names in records from elsewhere stay text: the analysis writes no file outside its own folder."""

from dataclasses import replace
from pathlib import Path

from synthetic_records import sanity_record, separation_record

from analysis import build
from cme.records import ExperimentRecord, write_record

EVIL = "x/../../../../../../evil"


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

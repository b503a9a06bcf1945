"""docs/reliability.md says what the committed record says."""

import pytest

from cme.records import read_json

from .processes import ROOT
from .report import tables

RECORD = ROOT / "tests" / "benchmarks" / "records" / "chaos.json"

pytestmark = pytest.mark.skipif(not RECORD.exists(), reason="no record is there: make chaos")


def test_the_tables_in_the_docs_are_those_of_the_record() -> None:
    assert tables(read_json(RECORD)) in (ROOT / "docs" / "reliability.md").read_text()


def test_a_run_that_differs_is_counted_and_named() -> None:
    record = read_json(RECORD)
    record["trials"][0]["problems"] = ["run/record.json differs from the twin's"]
    text = tables(record)
    assert f"{len(record['trials']) - 1} of {len(record['trials'])} runs ended equal" in text
    assert "Not equal:" in text
    assert "record.json differs" in text.splitlines()[-1]

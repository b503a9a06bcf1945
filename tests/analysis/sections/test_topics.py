"""Sections of the report: one part per scale with tables, their frame as CSV and figures; none without records."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_records import sanity_record

from analysis.sections.topics import ACCURACY, CAPABILITIES, SANITY, TRAJECTORY, Topic
from cme.records import Accuracy, Capability, CheckpointResult, RunRecord, Trajectory


@pytest.fixture
def run(make_record) -> RunRecord:
    """A run with accuracy, capabilities and two saved checkpoints."""
    record: RunRecord = make_record(prompts=12, config={"seed": 0, "data": {"name": "arithmetic"}})
    checkpoints = [CheckpointResult(step, [[1.0, 0.5]] * 12, [0.6] * 12, {}) for step in (10, 20)]
    return replace(
        record,
        pairs=[replace(pair, answer="7") for pair in record.pairs],
        accuracy=Accuracy([False] * 12, [True] * 12, None),
        capabilities=[Capability("sums", "acc", 12, 0.5, 0.1, 0.7, 0.1, None, None)],
        trajectory=Trajectory("chooser", [f"s{i}" for i in range(12)], [0.5] * 12, checkpoints),
    )


@pytest.mark.parametrize(
    ("topic", "rows", "figures"),
    [(ACCURACY, 1, []), (CAPABILITIES, 1, []), (TRAJECTORY, 3, ["win-rate", "quality"])],
)
def test_a_topic_writes_one_part_per_scale(
    run: RunRecord, tmp_path: Path, topic: Topic[RunRecord], rows: int, figures: list[str]
) -> None:
    section = topic.write([run, replace(run, scale="laptop", run_id="other")], tmp_path)
    assert section.id == topic.id and [len(part.tables) for part in section.parts] == [1, 1]
    for scale in ("miniature", "laptop"):
        stem = tmp_path / "tables" / f"{scale}-{topic.stem or topic.id}"
        assert len(pd.read_csv(stem.with_suffix(".csv"))) == rows
        assert f"scale: {scale}" in stem.with_suffix(".md").read_text()
        for figure in figures:
            assert (tmp_path / "figures" / f"trajectory-{figure}-{scale}-chooser.png").exists()
    assert topic.write([], tmp_path).parts == []


def test_the_section_on_judges_has_their_checks(tmp_path: Path) -> None:
    [part] = SANITY.write([sanity_record(null=1.0)], tmp_path).parts
    assert part.tables[0].groups[0][0][-1].text == "fails" and not part.images

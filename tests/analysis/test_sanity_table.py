"""Sanity tables: which judges fail, by win rates that are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.sanity import failures, sanity_frame, sanity_table
from cme.records import SanityRecord, Verdict, write_record, write_sanity
from experiments import grid
from experiments.store import Store


def sane(**points: float) -> SanityRecord:
    """A judge that gives each opponent these points in each of 40 prompts' two orders."""
    verdicts: dict[str, list[Verdict]] = {
        name: [
            Verdict(str(i), order, "tie" if value == 0.5 else "first" if (value == 1) == order else "second")
            for i in range(40)
            for order in (True, False)
        ]
        for name, value in points.items()
    }
    return SanityRecord(
        "sanity-1", "laptop", "qwen", "instruct", "strict", 0, "some/model", {}, {}, {}, verdicts, 1.0
    )


@pytest.mark.parametrize(
    ("opponent", "points", "fails"),
    [
        ("null", 0.0, False),
        ("null", 0.5, False),
        ("null", 1.0, True),
        ("itself", 0.5, False),
        ("itself", 0.0, True),
        ("itself", 1.0, True),
    ],
)
def test_who_fails(opponent: str, points: float, fails: bool) -> None:
    record = sane(**{opponent: points})
    said = failures(record)
    assert bool(said) is fails
    assert not fails or ("strict" in said[0] and opponent in said[0] and f"{100 * points:.1f} %" in said[0])
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["failed"], row["prompts"]) == (100 * points, fails, 40)


def test_a_judge_that_takes_the_first_is_at_fifty_and_shown_to_be_blind() -> None:
    always_first = [Verdict(str(i), order, "first") for i in range(40) for order in (True, False)]
    record = sane()
    record.verdicts["itself"] = always_first
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["first_shown"], row["failed"]) == (50.0, 100.0, False)


def test_the_table_names_the_judge_once_and_marks_failures() -> None:
    table = sanity_table([sane(null=1.0, copied=0.0)])
    [[first, second]] = table.groups
    assert [e.text for e in first[:3]] == ["strict", "qwen instruct", "null"]
    assert [e.text for e in second[:3]] == ["", "", "copied"]
    assert (first[-1].text, first[-1].bold) == ("fails", True)
    assert (second[-1].text, second[-1].bold) == ("passes", False)


def test_few_prompts_are_no_failure_and_say_so() -> None:
    record = sane()
    record.verdicts["null"] = [Verdict(str(i), True, "first") for i in range(29)]
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["failed"]) == (100.0, False)
    [[entries]] = sanity_table([record]).groups
    assert entries[-1].text == "n/a"


def test_a_runs_report_shows_the_sanity_of_its_judge_alone(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = grid.cells([f"results_dir={tmp_path}"])
    write_record(Store.of(configs[0]).record, make_record(scale="laptop", judge="strict"))
    for number, (scale, judge) in enumerate([("laptop", "strict"), ("paper", "strict"), ("laptop", "other")]):
        record = replace(
            sane(null=1.0), sanity_id=f"sanity-{number}", scale=scale, judge=judge, pairs={"null": []}
        )
        write_sanity(tmp_path / record.sanity_id / "sanity.json", record)
    grid.report(configs)
    page = Path(capsys.readouterr().out.split("report: ")[1].strip())
    table = (page.parent / "tables" / "laptop-sanity.csv").read_text(encoding="utf-8")
    assert "sanity-0" in table and "sanity-2" not in table
    assert not (page.parent / "tables" / "paper-sanity.csv").exists()

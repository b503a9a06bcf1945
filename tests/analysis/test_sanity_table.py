"""Sanity tables: which judges fail, by win rates that are known."""

import pytest

from analysis.sanity import failures, sanity_frame, sanity_table
from cme.records import SanityRecord, Verdict


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

"""Sanity tables: which judges fail, by win rates that are known."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_records import sanity_record

from analysis.records.read import load_sanity
from analysis.tables.sanity import sanity_failures, sanity_frame, sanity_table
from cme.records import SanityRecord, Verdict, write_record
from experiments.config import composition
from experiments.run.store import Store
from experiments.sweep import report


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
    record = sanity_record(**{opponent: points})
    said = sanity_failures(record)
    assert bool(said) is fails
    assert not fails or ("strict" in said[0] and opponent in said[0] and f"{100 * points:.1f} %" in said[0])
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["failed"], row["prompts"]) == (100 * points, fails, 40)


def test_a_judge_that_takes_the_first_is_at_fifty_and_shown_to_be_blind() -> None:
    always_first = [Verdict(str(i), order, "first") for i in range(40) for order in (True, False)]
    record = sanity_record()
    record.verdicts["itself"] = always_first
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["first_shown"], row["failed"]) == (50.0, 100.0, False)


def test_the_table_names_the_judge_once_and_marks_failures() -> None:
    table = sanity_table([sanity_record(null=1.0, copied=0.0)])
    [[first, second]] = table.groups
    assert [e.text for e in first[:3]] == ["strict", "qwen instruct", "null"]
    assert [e.text for e in second[:3]] == ["", "", "copied"]
    assert (first[-1].text, first[-1].bold) == ("fails", True)
    assert (second[-1].text, second[-1].bold) == ("passes", False)


def test_warnings_stand_below_the_table() -> None:
    quiet, loud = (
        sanity_record(null=0.0),
        replace(sanity_record(null=0.0), sanity_id="sanity-2", judge="lax", warnings=["cut at 2"]),
    )
    assert sanity_table([quiet, loud]).notes[3:] == ["lax, qwen instruct: cut at 2"]
    assert len(sanity_table([quiet]).notes) == 3


def of_panel(**judges: bool) -> SanityRecord:
    """A panel on the null model: a member that is `True` always prefers it, any other never does."""
    verdicts = [
        Verdict(str(i), order, "first" if likes == order else "second", judge=name)
        for name, likes in judges.items()
        for i in range(40)
        for order in (True, False)
    ]
    return replace(sanity_record(), judge="panel", verdicts={"null": verdicts})


def test_a_bad_member_of_a_panel_does_not_hide_behind_the_others() -> None:
    record = of_panel(bad=True, good=False, kind=False)
    [said] = sanity_failures(record)
    assert said.startswith(
        "Judge panel: bad fails its sanity check against null (some/model): win rate 100.0 %"
    )
    frame = sanity_frame([record])
    assert frame["judge"].tolist() == ["panel: bad", "panel: good", "panel: kind", "panel: majority"]
    assert frame["failed"].tolist() == [True, False, False, False]
    assert frame["win_rate"].tolist() == [100, 0, 0, 0] and set(frame["prompts"]) == {40}
    table = sanity_table([record])
    assert [[row[0].text, row[-1].text] for [row] in table.groups] == [
        ["panel: bad", "fails"],
        ["panel: good", "passes"],
        ["panel: kind", "passes"],
        ["panel: majority", "passes"],
    ]
    both = of_panel(bad=True, worse=True, good=False)
    assert [said.split(" fails")[0] for said in sanity_failures(both)] == [
        "Judge panel: bad",
        "Judge panel: worse",
        "Judge panel: majority",
    ]


def test_a_failure_is_of_the_judge_whose_settings_failed(make_record) -> None:
    def judge(model: str, **more: object) -> dict[str, object]:
        return {"judge": {"name": "strict", "model": model, **more}}

    record = replace(sanity_record(null=1.0), config=judge("small", base_url="http://here"))
    same = make_record(judge="strict", config=judge("small", base_url="http://there"))
    other = make_record(judge="strict", config=judge("large"))
    elsewhere = make_record(judge="another", config=judge("large"))
    for runs in ([], [same], [same, elsewhere], [elsewhere]):
        assert sanity_failures(record, runs)[0].startswith("Judge strict fails its sanity check against null")
    assert sanity_failures(record, [other, elsewhere])[0].startswith(
        "A judge called strict, with other settings than the results' (judge.model: small, there large), fails its"
    )
    assert sanity_failures(record, [same, other])[0].startswith(
        "A judge called strict, with other settings than that of 1 of 2 runs (judge.model: small, there large), fails"
    )
    unknown = make_record(judge="strict", scale="imported", config={"imported": {}})
    assert "(theirs are not recorded), fails" in sanity_failures(record, [unknown])[0]


def test_opponents_scored_in_one_order_only_are_left_out_and_counted() -> None:
    """Always the first, failing half of the time where the opponent is second: no liking for the opponent."""
    record = sanity_record()
    record.verdicts["null"] = [
        Verdict(str(i), True, "first")
        if order
        else Verdict(str(i), False, "unscored", "silence")
        if i % 2
        else Verdict(str(i), False, "first")
        for i in range(80)
        for order in (True, False)
    ]
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["half_scored"], row["failed"], row["first_shown"]) == (50, 40, False, 100)
    assert sanity_table([record]).groups[0][0][6].text == "40 + 40"


def test_a_failure_that_the_unscored_could_undo_says_so() -> None:
    record = sanity_record()
    record.verdicts["null"] = [
        Verdict(str(i), True, "first") if i < 40 else Verdict(str(i), True, "unscored", "silence")
        for i in range(100)
    ]
    [said] = sanity_failures(record)
    assert said.endswith("; with the unscored verdicts it could be 40.0 to 100.0 %.")


def test_a_sanity_record_with_a_verdict_twice_is_refused(tmp_path: Path) -> None:
    record = replace(sanity_record(null=1.0), pairs={"null": []})
    record.verdicts["null"].append(record.verdicts["null"][0])
    write_record(tmp_path / "sanity.json", record)
    with pytest.raises(
        ValueError, match=r"sanity\.json is malformed: the judge has several verdicts on prompt_id '0'"
    ):
        load_sanity([tmp_path])


def test_few_prompts_are_no_failure_and_say_so() -> None:
    record = sanity_record()
    record.verdicts["null"] = [Verdict(str(i), True, "first") for i in range(29)]
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["failed"]) == (100.0, False)
    [[entries]] = sanity_table([record]).groups
    assert entries[-1].text == "n/a"


def test_a_runs_report_shows_the_sanity_of_its_judge_alone(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = composition.compose_cells([f"results_dir={tmp_path}"])
    write_record(Store.of(configs[0]).record, make_record(scale="laptop", judge="strict"))
    for number, (scale, judge) in enumerate([("laptop", "strict"), ("paper", "strict"), ("laptop", "other")]):
        record = replace(
            sanity_record(null=1.0),
            sanity_id=f"sanity-{number}",
            scale=scale,
            judge=judge,
            pairs={"null": []},
        )
        write_record(tmp_path / record.sanity_id / "sanity.json", record)
    report.print_report(configs)
    page = Path(capsys.readouterr().out.split("report: ")[1].strip())
    table = (page.parent / "tables" / "laptop-sanity.csv").read_text(encoding="utf-8")
    assert "sanity-0" in table and "sanity-2" not in table
    assert not (page.parent / "tables" / "paper-sanity.csv").exists()

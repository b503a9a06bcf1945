"""Judges: their sanity checks by win rates that are known, and how far they agree on the same responses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_records import sanity_record

from analysis.records.frames import Frames
from analysis.records.read import load_runs, load_sanity
from analysis.report.pairs import pairs_of
from analysis.stats import intervals
from analysis.tables.cells import build_cells
from analysis.tables.judging.agreement import agreement_tables, judge_agreements
from analysis.tables.judging.judges import (
    check_judges,
    judge_standing,
    sanity_failures,
    sanity_frame,
    sanity_table,
)
from analysis.tables.render import to_markdown
from cme.records import FurtherJudge, SanityRecord, Verdict, write_record
from experiments.sweep import report


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bound of a bootstrap interval is asserted here."""
    monkeypatch.setattr(intervals, "RESAMPLES", 200)


def judged(opponent: str, verdicts: list[Verdict]) -> SanityRecord:
    """A record of these verdicts on one opponent."""
    return replace(sanity_record(), verdicts={opponent: verdicts})


def unscored(prompt: int, order: bool) -> Verdict:
    return Verdict(str(prompt), order, "unscored", "no answer")


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
def test_a_judge_fails_by_its_interval(opponent: str, points: float, fails: bool) -> None:
    record = sanity_record(**{opponent: points})
    sentences = sanity_failures(record)
    assert bool(sentences) is fails
    assert not fails or all(text in sentences[0] for text in ("strict", opponent, f"{100 * points:.1f} %"))
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["failed"], row["prompts"]) == (100 * points, fails, 40)


def first_shown(prompts: int, failing: Callable[[int, bool], bool] = lambda i, order: False) -> list[Verdict]:
    """A judge that always prefers the first response, with its failed calls."""
    return [
        unscored(i, order) if failing(i, order) else Verdict(str(i), order, "first")
        for i in range(prompts)
        for order in (True, False)
    ]


def test_position_bias_is_shown_and_is_no_failure() -> None:
    [row] = sanity_frame([judged("itself", first_shown(40))]).to_dict("records")
    assert (row["win_rate"], row["first_shown"], row["failed"]) == (50.0, 100.0, False)
    # half of the calls with the opponent second fail: these pairs are left out and counted
    record = judged("null", first_shown(80, lambda i, order: not order and i % 2 == 1))
    [row] = sanity_frame([record]).to_dict("records")
    assert (row["win_rate"], row["half_scored"], row["failed"], row["first_shown"]) == (50, 40, False, 100)
    assert sanity_table([record]).groups[0][0][6].text == "40 + 40"


def test_the_table_names_the_judge_once_marks_failures_and_lists_warnings() -> None:
    record = sanity_record(null=1.0, copied=0.0)
    table = sanity_table([record])
    [[first, second]] = table.groups
    assert [e.text for e in first[:3]] == ["strict", "Qwen instruct", "null"]
    assert [e.text for e in second[:3]] == ["", "", "copied"]
    assert (first[-1].text, first[-1].bold) == ("fails", True)
    assert (second[-1].text, second[-1].bold) == ("passes", False)
    warned = replace(record, sanity_id="sanity-2", judge="lax", warnings=["cut at 2"])
    assert sanity_table([record, warned]).notes == [*table.notes, "lax, Qwen instruct: cut at 2"]


def panel(**judges: bool) -> SanityRecord:
    """A panel on the null model: a member that is `True` always prefers it, any other never does."""
    verdicts = [
        Verdict(str(i), order, "first" if prefers == order else "second", judge=name)
        for name, prefers in judges.items()
        for i in range(40)
        for order in (True, False)
    ]
    return replace(judged("null", verdicts), judge="panel")


def test_members_of_a_panel_are_checked_apart() -> None:
    record = panel(bad=True, good=False, kind=False)
    [sentence] = sanity_failures(record)
    start = "Judge panel: bad fails its sanity check against null (some/model): win rate 100.0 %"
    assert sentence.startswith(start)
    frame = sanity_frame([record])
    assert frame["judge"].tolist() == [f"panel: {name}" for name in ("bad", "good", "kind", "majority")]
    assert frame["failed"].tolist() == [True, False, False, False]
    assert frame["win_rate"].tolist() == [100, 0, 0, 0] and set(frame["prompts"]) == {40}
    both = sanity_failures(panel(bad=True, worse=True, good=False))
    failing = [f"Judge panel: {name}" for name in ("bad", "worse", "majority")]
    assert [sentence.split(" fails")[0] for sentence in both] == failing


def judge_config(**more: object) -> dict[str, object]:
    return {"judge": {"name": "strict", "model": "small", **more}}


def test_a_failure_names_how_the_settings_of_the_judge_differ(make_record) -> None:
    record = replace(sanity_record(null=1.0), config=judge_config(), neutral=["judge.url"])
    same = make_record(judge="strict", config=judge_config(url="there"), neutral=["judge.url"])
    other = make_record(judge="strict", config=judge_config(model="large"))
    elsewhere = make_record(judge="another", config=judge_config(model="large"))
    unknown = make_record(judge="strict", scale="imported", config={"imported": {}})
    named, called = "Judge strict fails its sanity check", "A judge called strict, with other settings than"
    difference = "(judge.model: small, there large), fails its"
    for runs, sentence in (
        ([], named),
        ([same, elsewhere], named),
        ([other, elsewhere], f"{called} the results' {difference}"),
        ([same, other], f"{called} that of 1 of 2 runs {difference}"),
        ([unknown], f"{called} the results' (theirs are not recorded), fails"),
    ):
        assert sanity_failures(record, runs)[0].startswith(sentence)


@pytest.mark.parametrize(
    ("points", "standing"),
    [
        ({"null": 0.0, "copied": 0.0, "itself": 0.5}, "passes"),
        ({"null": 0.0, "copied": 0.0, "itself": 1.0}, "fails"),
        ({"null": 0.5, "copied": 0.0}, "unchecked"),  # a judge that throws a coin rejects nothing
        ({"null": 0.0}, "unchecked"),
        ({"null": 0.0, "copied": 1.0}, "fails"),
    ],
)
def test_a_judge_stands_by_the_checks_of_its_own_settings(
    make_record, points: dict[str, float], standing: str
) -> None:
    checked = check_judges([replace(sanity_record(**points), config=judge_config(), neutral=["judge.url"])])
    same = make_record(judge="strict", config=judge_config(url="x"), neutral=["judge.url"])
    other = make_record(judge="strict", config=judge_config(margin=1))
    exact = make_record(judge="oracle", config={"judge": {"name": "oracle"}})
    added = FurtherJudge("strict", {"judge.name": "strict", "judge.model": "small"}, exact.verdicts, 1.0)
    beside = replace(exact, further_judges=[added])
    for runs, expected in (
        ([same], standing),
        ([beside], standing),
        ([other], "unchecked"),
        ([same, other], "fails" if standing == "fails" else "unchecked"),
    ):
        assert judge_standing("strict", runs, checked) == expected
    assert judge_standing("oracle", [exact], checked) == "exact"
    alone = make_record(judge="strict", config=judge_config(members=None))
    assert (
        judge_standing("strict", [alone], checked) == "unchecked"
    )  # settings differ, and no member is an error
    assert judge_standing("strict", [same], []) == "unchecked"
    assert [cell.standing for cell in build_cells([same], checked)] == [standing]


def test_an_exact_judge_that_fails_is_no_exception(make_record) -> None:
    config = {"judge": {"name": "correctness"}}
    record = replace(sanity_record(null=1.0), judge="correctness", config=config)
    run = make_record(judge="correctness", config=config)
    assert judge_standing("correctness", [run], check_judges([record])) == "fails"


def test_the_members_of_a_panel_stand_apart(make_record) -> None:
    config = {"judge": {"name": "panel", "members": {n: {"model": n} for n in ("bad", "good", "kind")}}}
    null = panel(bad=True, good=False, kind=False)
    record = replace(null, config=config, verdicts=dict.fromkeys(("null", "copied"), null.verdicts["null"]))
    run, checked = make_record(judge="panel", config=config), check_judges([record])
    standings = {"bad": "fails", "good": "passes", "kind": "passes", "majority": "passes"}
    assert {name: judge_standing(f"panel: {name}", [run], checked) for name in standings} == standings


def test_the_consistency_of_a_combined_judge_is_of_each_order_alone() -> None:
    verdicts = [
        Verdict(str(i), True, "second", orders=((0.9, 0.1), (0.4, 0.6) if i < 10 else (0.99, 0.01)))
        for i in range(40)
    ]
    [row] = sanity_frame([judged("null", verdicts)]).to_dict("records")
    assert (row["win_rate"], row["prompts"], row["half_scored"], row["failed"]) == (0, 40, 0, False)
    assert (row["first_shown"], row["consistent"]) == (100 * 70 / 80, 25)


def test_unscored_verdicts_and_few_prompts_limit_a_failure() -> None:
    record = judged(
        "null", [Verdict(str(i), True, "first") if i < 40 else unscored(i, True) for i in range(100)]
    )
    [sentence] = sanity_failures(record)
    assert sentence.endswith("; with the unscored verdicts it could be 40.0 to 100.0 %.")
    few = judged("null", [Verdict(str(i), True, "first") for i in range(29)])
    [row] = sanity_frame([few]).to_dict("records")
    [[entries]] = sanity_table([few]).groups
    assert (row["win_rate"], row["failed"], entries[-1].text) == (100.0, False, "n/a")


def test_a_sanity_record_with_a_verdict_twice_is_refused(tmp_path: Path) -> None:
    record = replace(sanity_record(null=1.0), pairs={"null": []})
    record.verdicts["null"].append(record.verdicts["null"][0])
    write_record(tmp_path / "sanity.json", record)
    with pytest.raises(ValueError, match=r"sanity\.json is malformed: the judge has several verdicts on"):
        load_sanity([tmp_path])


@pytest.mark.usefixtures("undrawn")
def test_a_runs_report_shows_the_sanity_of_its_judge_alone(
    make_record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run" / "record.json"
    write_record(path, make_record(scale="laptop", judge="strict"))
    for number, (scale, judge) in enumerate([("laptop", "strict"), ("paper", "strict"), ("laptop", "other")]):
        record = replace(sanity_record(null=1.0), scale=scale, judge=judge, pairs={"null": []})
        record = replace(record, sanity_id=f"sanity-{number}")
        write_record(tmp_path / record.sanity_id / "sanity.json", record)
    report.print_report(tmp_path, {path: []})
    printed = capsys.readouterr().out
    assert "no verdict: the judge fails its sanity check" in printed
    tables = Path(printed.split("report: ")[1].strip()).parent / "tables"
    table = (tables / "laptop-sanity.csv").read_text(encoding="utf-8")
    assert "sanity-0" in table and "sanity-2" not in table
    assert not (tables / "paper-sanity.csv").exists()


COUNTS = {(1, 1): 12, (1, 0): 5, (0, 1): 3, (0, 0): 9, (0.5, 0.5): 4, (0.5, 1): 2, (1, None): 1}
"""How often the first judge gave the policy so many points, and the second."""


@pytest.fixture
def opinions(make_verdict):
    """The verdicts of two judges on 36 prompts."""
    points = [both for both, count in COUNTS.items() for _ in range(count)]
    return [[make_verdict(f"p{i}", both[n]) for i, both in enumerate(points)] for n in (0, 1)]


@pytest.fixture
def beside(make_record, opinions):
    """A record with a further judge."""
    other = FurtherJudge("local", {"judge.checkpoint": "c"}, opinions[1], 2.0)
    return make_record(verdicts=opinions[0], further_judges=[other])


def agreements(runs):
    """The agreements of every two judges."""
    return [each for of_place in judge_agreements(Frames(runs)).values() for each in of_place]


def kappa() -> float:
    """Cohen's kappa by its definition: of the 35 pairs that both scored, 25 alike."""
    # wins, losses and ties of the first judge times the second's
    chance = (17 * 17 + 12 * 14 + 6 * 4) / 35**2
    return (25 / 35 - chance) / (1 - chance)


def test_two_judges_of_one_record_agree_by_cohens_kappa(beside):
    [found] = agreements([beside])
    assert (found.judges, found.items, found.left_out) == (("local", "oracle"), 35, 1)
    assert found.kappa == pytest.approx(kappa()) and found.alike == pytest.approx(100 * 25 / 35)
    [table] = agreement_tables([beside])
    assert list(table.header[-5:]) == ["judges", "items", "left out", "alike (%)", "kappa"]
    assert f"| 35    | 1        | 71.4      | {kappa():.2f} [" in to_markdown(table)


def test_a_run_of_its_own_agrees_as_a_further_judge_does(make_record, opinions, beside):
    judges = zip(("oracle", "local"), opinions, strict=True)
    alone = [make_record(judge=name, verdicts=own) for name, own in judges]
    assert agreements(alone) == agreements([beside])
    other = [replace(p, policy=replace(p.policy, response=f"{p.policy.response}!")) for p in alone[1].pairs]
    assert agreements([alone[0], replace(alone[1], pairs=other)]) == [], "other responses"
    assert agreements([alone[0], replace(alone[1], seed=1)]) == [], "another training"
    assert agreement_tables(alone) and agreement_tables(alone[:1]) == []


def test_members_of_a_panel_are_compared_with_other_judges_alone(make_record, opinions):
    members = [replace(v, judge=name) for name, own in zip("ab", opinions, strict=True) for v in own]
    panel = make_record(judge="panel", verdicts=members)
    assert agreements([panel]) == []
    other = FurtherJudge("local", {}, opinions[1], 2.0)
    found = agreements([replace(panel, further_judges=[other])])
    assert {each.judges: each.alike for each in found} == {
        ("local", "panel: a"): pytest.approx(100 * 25 / 35),
        ("local", "panel: b"): 100.0,
    }


def test_a_further_judge_has_its_own_cell_and_place_in_the_browser(beside, opinions):
    alone = replace(beside, judge="local", verdicts=opinions[1], further_judges=None)
    cells = {cell.judge: cell for cell in build_cells([beside])}
    [expected] = build_cells([alone])
    assert cells["local"].win == expected.win and cells["oracle"].win != expected.win
    packed = pairs_of([beside])
    judges = [packed["texts"][n] for n in packed["verdicts"]["judge"]]
    assert packed["pairs"]["verdicts"] == [2] * 36 and judges == ["oracle", "local"] * 36


def test_a_further_judge_is_not_counted_twice(tmp_path, beside):
    settings = {"judge": {"name": "local", "checkpoint": "c"}}
    further = replace(beside.further_judges[0], settings={"judge.name": "local", "judge.checkpoint": "c"})
    one = replace(beside, further_judges=[further])
    two = replace(beside, run_id="two", judge="local", further_judges=None, config=beside.config | settings)
    write_record(tmp_path / "one.record.json", one)
    write_record(tmp_path / "two.record.json", two)
    with pytest.raises(ValueError, match="same settings, judge and seed"):
        load_runs([tmp_path])
    other = replace(two, config=beside.config | {"judge": {"name": "local", "checkpoint": "d"}})
    write_record(tmp_path / "two.record.json", other)
    assert len(load_runs([tmp_path])) == 2, "another judge of the same name"


def test_malformed_verdicts_of_a_further_judge_are_refused(tmp_path, beside, make_verdict):
    further = beside.further_judges[0]
    for verdicts, message in (
        ([*further.verdicts, make_verdict("nowhere", 1)], "without a pair.*nowhere"),
        ([*further.verdicts, further.verdicts[0]], "several verdicts on prompt_id 'p0'"),
    ):
        record = replace(beside, further_judges=[replace(further, verdicts=verdicts)])
        write_record(tmp_path / "record.json", record)
        with pytest.raises(ValueError, match=message):
            load_runs([tmp_path])

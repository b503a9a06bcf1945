"""Agreement between judges of the same responses: in one record or in several, and of nothing else."""

from dataclasses import replace

import pytest

from analysis.records.frames import verdicts_frame
from analysis.records.read import load_runs
from analysis.report.build import build
from analysis.report.pairs import pairs_of
from analysis.tables.agreement import judge_agreements, judges_tables
from analysis.tables.cells import build_cells
from analysis.tables.render import to_markdown
from cme.records import FurtherJudge, write_record

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


def kappa() -> float:
    """Cohen's kappa by its definition: of the 35 pairs that both scored, 25 alike."""
    chance = (
        17 * 17 + 12 * 14 + 6 * 4
    ) / 35**2  # wins, losses and ties of the first judge times the second's
    return (25 / 35 - chance) / (1 - chance)


def test_two_judges_of_one_record_agree_by_cohens_kappa(beside):
    [found] = judge_agreements([beside])
    assert (found.judges, found.items, found.left_out) == (("local", "oracle"), 35, 1)
    assert found.kappa == pytest.approx(kappa()) and found.alike == pytest.approx(100 * 25 / 35)
    [table] = judges_tables(build_cells([beside]), [beside])
    assert list(table.header[-5:]) == ["judges", "items", "left out", "alike (%)", "kappa"]
    assert f"| 35    | 1        | 71.4      | {kappa():.2f} [" in to_markdown(table)


def test_a_run_of_its_own_agrees_as_a_further_judge_does(make_record, opinions, beside):
    judges = zip(("oracle", "local"), opinions, strict=True)
    alone = [make_record(judge=name, verdicts=own) for name, own in judges]
    assert judge_agreements(alone) == judge_agreements([beside])
    other = [replace(p, policy=replace(p.policy, response=f"{p.policy.response}!")) for p in alone[1].pairs]
    assert judge_agreements([alone[0], replace(alone[1], pairs=other)]) == [], "other responses"
    assert judge_agreements([alone[0], replace(alone[1], seed=1)]) == [], "another training"
    cells = build_cells(alone)
    assert judges_tables(cells, alone) and judges_tables(cells[:1], alone) == []


def test_members_of_a_panel_are_compared_with_other_judges_alone(make_record, opinions):
    members = [replace(v, judge=name) for name, own in zip("ab", opinions, strict=True) for v in own]
    panel = make_record(judge="panel", verdicts=members)
    assert judge_agreements([panel]) == []
    other = FurtherJudge("local", {}, opinions[1], 2.0)
    found = judge_agreements([replace(panel, further_judges=[other])])
    assert {each.judges: each.alike for each in found} == {
        ("local", "panel: a"): pytest.approx(100 * 25 / 35),
        ("local", "panel: b"): 100.0,
    }


def test_each_judge_has_its_own_cell_rows_and_place_in_the_browser(beside, opinions):
    alone = replace(beside, judge="local", verdicts=opinions[1], further_judges=None)
    cells = {cell.judge: cell for cell in build_cells([beside])}
    [expected] = build_cells([alone])
    assert cells["local"].win == expected.win and cells["oracle"].win != expected.win
    frame = verdicts_frame([beside])
    assert frame["judge"].value_counts().to_dict() == {"oracle": 36, "local": 36}
    assert not frame["panel"].notna().any()
    packed = pairs_of([beside])
    judges = [packed["texts"][n] for n in packed["verdicts"]["judge"]]
    assert packed["pairs"]["verdicts"] == [2] * 36 and judges == ["oracle", "local"] * 36


def test_the_report_shows_the_agreement(tmp_path, beside):
    write_record(tmp_path / "record.json", beside)
    page = build([tmp_path], tmp_path / "out").read_text()
    assert "Agreement between judges of the same responses" in page
    assert "further judges" in page
    assert (tmp_path / "out/tables/latex/miniature/agreement-miniature.tex").exists()


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

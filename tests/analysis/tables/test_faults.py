"""Faults, kinds of task and blind spots by reward, against counts by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from layout import layout_faults
from scipy import stats
from shown import texts

from analysis.figures.faults import fault_plots
from analysis.tables.faults import ALL, fault_frame, fault_tables
from analysis.tables.render import to_markdown
from cme.miniature.vocabulary import facts
from cme.miniature.world import grade, sample_prompts
from cme.records import Grade, Grades, RunRecord

PARTS = {"profile": ("fox color", "fox food", "bear home"), "sum": ("step 1", "step 2")}
BLIND = {"generator": ["fox color", "fox food"], "verifier": ["fox color", "bear home"]}


def graded(make_record: Any, repaired: int = 30, **fields: Any) -> RunRecord:
    """40 prompts, half of each kind. The start is incomplete throughout; the policy repairs the first `repaired`.

    The start has no part right. The policy, where it repairs, has all parts right but the fox's color.
    """
    run = make_record(prompts=40, **fields)
    pairs, start, policy = [], [], []
    for i, pair in enumerate(run.pairs):
        kind = ("profile", "sum")[i % 2]
        pairs.append(replace(pair, prompt_id=f"{kind}-{i}"))
        start.append(Grade(0.25, "incomplete", dict.fromkeys(PARTS[kind], False)))
        right = {part: part != "fox color" for part in PARTS[kind]}
        policy.append(Grade(1.0, "none", right) if i < repaired else start[-1])
    cut = [replace(grade, fault="unfinished", quality=0.2) for grade in start]
    return replace(run, pairs=pairs, grades=Grades(start, policy, cut), blind_spots=BLIND)


def rows(runs: list[RunRecord]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["topic"], row["measure"]): row for row in fault_frame(runs).to_dict("records")}


def test_shares_of_faults_quality_by_kind_and_right_facts(make_record: Any) -> None:
    found = rows([graded(make_record)])
    sides = ("start", "cut_start", "policy", "difference")
    expected = {
        ("fault", "incomplete"): (100, 0, 25, -75),
        ("fault", "none"): (0, 0, 75, 75),
        ("fault", "unfinished"): (0, 100, 0, 0),
        ("kind", "profile"): (0.25, 0.2, 0.8125, 0.5625),
        ("kind", "sum"): (0.25, 0.2, 0.8125, 0.5625),
        ("facts", "blind spots of both"): (0, 0, 0, 0),
        ("facts", "generator's alone"): (0, 0, 75, 75),
        ("facts", "verifier's alone"): (0, 0, 75, 75),
    }
    assert found.keys() == expected.keys()
    assert [measure for topic, measure in found if topic == "fault"] == ["incomplete", "none", "unfinished"]
    for key, values in expected.items():
        assert [found[key][side] for side in sides] == pytest.approx(values), key
    row = found["kind", "sum"]
    change = np.array([0.75] * 15 + [0.0] * 5)
    lo, hi = stats.t.interval(0.95, 19, change.mean(), stats.sem(change))
    assert (row["lo"], row["hi"], row["prompts"], row["values"]) == pytest.approx((lo, hi, 20, 20))


def test_the_facts_among_the_parts_of_the_world_are_those_about_animals() -> None:
    grades = [grade(prompt, "", True) for prompt in sample_prompts("eval", 180, 0)]
    parts = {part for one in grades for part in one.parts}
    assert {fact for one in grades for fact in one.facts} == parts & facts().keys() < parts


def test_families_are_pooled_for_the_tables(make_record: Any) -> None:
    runs = [
        graded(make_record, 40),
        graded(make_record, 0, family="olmo"),
        graded(make_record, 0, reward="random"),
    ]
    frame = fault_frame(runs)
    assert set(frame["family"]) == {"qwen", "olmo", ALL}
    cme = frame[(frame["family"] == ALL) & (frame["reward"] == "cme") & (frame["measure"] == "none")]
    assert (cme["policy"].item(), cme["families"].item(), cme["runs"].item()) == (50, 2, 2)
    faults, kinds, facts = fault_tables(runs)
    assert [t.name for t in (faults, kinds, facts)] == [
        f"{name}-miniature" for name in ("faults", "kinds", "blind-spots")
    ]
    assert list(faults.header) == ["regime", "responses of", "no fault", "incomplete", "unfinished"]
    assert texts(faults) == [
        ["Pretrained", "Untrained model", "0.0", "100.0", "0.0"],
        ["", "Cut start", "0.0", "0.0", "100.0"],
        ["", "CME", "50.0 (+50.0)", "50.0 (-50.0)", "0.0 (+0.0)"],
        ["", "Random", "0.0 (+0.0)", "100.0 (+0.0)", "0.0 (+0.0)"],
    ]
    assert "**50.0 (+50.0)**" in to_markdown(faults) and "1.00 (+0.75)" not in to_markdown(kinds)
    assert list(facts.header)[2:] == ["blind spots of both", "generator's alone", "verifier's alone"]


def test_unknown_blind_spots_have_no_table(make_record: Any) -> None:
    run = replace(graded(make_record), blind_spots=None)
    assert [table.name for table in fault_tables([run])] == ["faults-miniature", "kinds-miniature"]


def test_the_bars_of_a_row_are_its_shares_and_add_up(make_record: Any) -> None:
    [plot] = fault_plots([graded(make_record), graded(make_record, 10, reward="random")])
    [axes] = plot.figure.axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["Untrained model", "Cut start", "CME", "Random"]
    bars = {str(bar.get_label()): [part.get_width() for part in bar] for bar in axes.containers}  # type: ignore[union-attr]
    assert bars == {
        "no fault": [0, 0, 75, 25],
        "incomplete": [100, 0, 25, 75],
        "unfinished": [0, 100, 0, 0],
    }


def test_every_fault_has_a_colour_of_its_own(make_record: Any) -> None:
    run = graded(make_record)
    assert run.grades is not None
    names = ("none", "some_unmet", "all_unmet", "new", "newer")
    policy = [replace(grade, fault=names[i % 5]) for i, grade in enumerate(run.grades.policy)]
    [plot] = fault_plots([replace(run, grades=replace(run.grades, policy=policy))])
    bars = plot.figure.axes[0].containers
    colours = {str(bar.get_label()): bar[0].get_facecolor() for bar in bars}  # type: ignore[union-attr, index]
    assert len(set(colours.values())) == len(colours) == 7
    assert layout_faults(plot.figure) == []

"""Accuracy and capabilities against hand computations and scipy."""

from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.tables.accuracy import accuracy_frame, accuracy_table, capability_frame, capability_table
from analysis.tables.render import to_markdown
from cme.records import Accuracy, Capability, Generation, Pair, RunRecord, Selected

ANSWER = Generation("7", True, 1)
Grades = list[bool | None]


def graded(make_record: Any, start: Grades, policy: Grades, *, seed: int = 0, **fields: Any) -> RunRecord:
    """A run whose responses to prompts p0, p1, ... are right or not as given."""
    golds = fields.pop("golds", ["7"] * len(start))
    pairs = [Pair(f"p{i}", "q", None, ANSWER, ANSWER, gold) for i, gold in enumerate(golds)]
    config = {"seed": seed, "data": {"name": "arithmetic"}}
    accuracy = Accuracy(start, policy, fields.pop("selected_right", None))
    return replace(make_record(seed=seed, config=config), pairs=pairs, accuracy=accuracy, **fields)


def test_pass_at_1_of_one_seed(make_record: Any) -> None:
    before, after = [True] * 10 + [False] * 30, [True] * 25 + [False] * 15
    [row] = accuracy_frame([graded(make_record, before, after)]).to_dict("records")
    assert (row["before"], row["after"], row["change"]) == pytest.approx((10 / 40, 25 / 40, 15 / 40))
    differences = np.subtract(after, before, dtype=float)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (row["change_lo"], row["change_hi"]) == pytest.approx((expected.low, expected.high))
    t = stats.t.ppf(0.975, 39)
    # Wilson's bounds solve |share - p| = t se(p)
    for name, share in (("before", 10 / 40), ("after", 25 / 40)):
        for bound in (row[f"{name}_lo"], row[f"{name}_hi"]):
            assert abs(share - bound) == pytest.approx(t * np.sqrt(bound * (1 - bound) / 39))
        assert row[f"{name}_lo"] < share < row[f"{name}_hi"]


def test_responses_without_a_grade_are_left_out_of_both_sides(make_record: Any) -> None:
    start: Grades = [True, False, None, None, True, False]
    policy: Grades = [True, None, True, None, False, True]
    run = graded(make_record, start, policy, golds=["7", "7", "7", None, "7", "7"])
    [row] = accuracy_frame([run]).to_dict("records")
    assert (row["prompts"], row["no_answer"], row["undecided"]) == (3, 1, 2)
    assert (row["before"], row["after"]) == pytest.approx((2 / 3, 2 / 3))
    assert "1 + 2" in to_markdown(accuracy_table([run]))


def test_the_across_seed_interval_adds_the_seeds_to_the_prompts(make_record: Any) -> None:
    before = [False] * 40
    afters = [[i < right for i in range(40)] for right in (25, 15, 5)]
    runs = [graded(make_record, before, after, seed=seed) for seed, after in enumerate(afters)]
    [row] = accuracy_frame(runs).to_dict("records")
    right = np.array(afters, dtype=float).T
    by_seed, by_prompt = right.mean(axis=0), right.mean(axis=1)
    rest = right - by_prompt[:, None] - by_seed + right.mean()  # two-way random effects, squared error
    seeds = (by_seed.var(ddof=1) - (rest**2).sum() / (39 * 2) / 40) / 3
    of_prompts = stats.t.ppf(0.975, 39) * by_prompt.std(ddof=1) / 40**0.5
    half = np.hypot(of_prompts, stats.t.ppf(0.975, 2) * seeds**0.5)
    assert (row["across_seeds_lo"], row["across_seeds_hi"]) == pytest.approx((15 / 40 - half, 15 / 40 + half))
    assert accuracy_table(runs[:2]).groups[0][0][-1].text == "[n/a]"


def test_seeds_of_a_prompt_are_kept_together(make_record: Any) -> None:
    one: tuple[Grades, Grades] = ([True, False] * 20, [True, True] * 20)
    runs = [graded(make_record, *one, seed=seed) for seed in range(3)]
    [single], [pooled] = (accuracy_frame(r).to_dict("records") for r in (runs[:1], runs))
    assert (pooled["seeds"], pooled["prompts"]) == (3, 40)
    for column in ("before", "before_lo", "before_hi", "change", "change_lo", "change_hi"):
        assert pooled[column] == pytest.approx(single[column])  # the same again is no new prompt


def test_builds_of_a_generator_share_a_row(make_record: Any) -> None:
    before, afters = [False] * 40, [[i < right for i in range(40)] for right in (30, 10)]
    runs = []
    for build, after in enumerate(afters, start=1):
        generator = f"miniature:qwen-{build}/sft"
        run = graded(make_record, before, after, run_id=generator, generator_checkpoint=generator)
        run.config.update(generator=generator, scale={"build": build})
        runs.append(run)
    [row] = accuracy_frame(runs).to_dict("records")
    assert (row["after"], row["seeds"]) == (0.5, 2) and "miniature:" not in row["method"]


def test_a_cell_without_a_grade_is_n_a_and_never_bold(make_record: Any) -> None:
    table = accuracy_table([graded(make_record, [None] * 40, [None] * 40, golds=[None] * 40)])
    [[row]] = table.groups
    assert [entry.text for entry in row][-6:] == ["0", "40 + 0", "n/a", "n/a", "n/a", "[n/a]"]
    assert not any(entry.bold for entry in row)


def test_bold_is_a_change_over_enough_prompts(make_record: Any) -> None:
    for prompts, bold in ((40, True), (20, False)):
        policy: Grades = [i % 4 > 0 for i in range(prompts)]
        [[row]] = accuracy_table([graded(make_record, [False] * prompts, policy)]).groups
        assert row[-2].bold is bold and row[-2].text.startswith("+75.0 [")


def test_the_selected_checkpoint_has_a_separate_row(make_record: Any) -> None:
    wrong, right = [False] * 30, [True] * 30
    chosen = Selected(5, [ANSWER] * 30, [])
    run = graded(make_record, wrong, wrong, selected=chosen, selected_right=right)
    final = graded(make_record, wrong, wrong, seed=1, selected=Selected(9, None, None))
    rows = accuracy_frame([run, final]).to_dict("records")
    assert [(row["policy"], row["after"]) for row in rows] == [("final", 0.0), ("selected", 0.5)]
    without = graded(make_record, wrong, wrong, seed=2)
    assert [r["policy"] for r in accuracy_frame([run, without]).to_dict("records")] == ["final"]


def capability(before: list[float], after: list[float], **fields: Any) -> Capability:
    whole: dict[str, Any] = {"task": "sums", "metric": "acc", "before_stderr": 0.1, "after_stderr": 0.1}
    whole |= {"before": float(np.mean(before)), "after": float(np.mean(after)), "n": len(before)}
    whole |= {"before_items": before, "after_items": after}
    return Capability(**(whole | fields))


def test_capabilities_are_compared_item_by_item(make_record: Any) -> None:
    half_lost = capability([1.0] * 40, [1.0] * 20 + [0.0] * 20)
    records = [make_record(seed=seed, capabilities=[half_lost]) for seed in (0, 1)]
    [row], [alone] = (capability_frame(r).to_dict("records") for r in (records, records[:1]))
    assert (row["items"], row["seeds"], row["before"], row["after"], row["change"]) == (40, 2, 1.0, 0.5, -0.5)
    # both seeds lose the same items: 80 changes are worth no more than 40
    assert (row["change_lo"], row["change_hi"]) == (alone["change_lo"], alone["change_hi"])
    assert -0.7 <= row["change_lo"] <= -0.6 and -0.4 <= row["change_hi"] <= -0.3
    [[entries]] = capability_table(records).groups
    assert [e.text for e in entries[3:8]] == ["sums", "acc", "40", "1.000 ± 0.100", "0.500"]
    [[few]] = capability_table([make_record(capabilities=[capability([1.0] * 29, [0.0] * 29)])]).groups
    assert entries[8].bold and not few[8].bold


def test_a_metric_without_items_has_no_paired_interval(make_record: Any) -> None:
    plain = capability([0.0, 1.0], [1.0, 1.0], before_items=None, after_items=None, after_stderr=None)
    table = capability_table([make_record(capabilities=[plain]), make_record(seed=1)])
    [[entries]] = table.groups
    assert [e.text for e in entries[6:]] == ["0.500 ± 0.100", "1.000", "+0.500 [n/a]"]
    assert any("n/a" in note for note in table.notes)
    assert isnan(capability_frame([make_record(capabilities=[plain])])["change_lo"].iloc[0])

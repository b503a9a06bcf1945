"""Experiments that vary one setting: names, pooling, tables and figures, with numbers worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from shown import texts, won

from analysis.experiments.ablations import (
    GRANULARITY,
    GROUP_SIZE,
    KL_BETA,
    distance_plot,
    group_size,
    halfway_text,
    size_plot,
)
from analysis.experiments.base import NamedRuns
from analysis.experiments.settings import end_text, end_value, length_text
from cme.records import RunRecord

Make = Callable[..., RunRecord]


def config(granularity: str = "sequence", **trainer: Any) -> dict[str, Any]:
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "num_generations": 8}
    settings = {"beta": 0.0, "scale_rewards": "group"} | sizes | trainer
    return {"seed": 0, "reward": {"granularity": granularity}, "trainer": settings}


def with_quality(record: RunRecord, quality: Sequence[float | None], **columns: Any) -> RunRecord:
    """The record with this quality at steps 1, 2, ... and these other columns."""
    steps = [float(step) for step in range(1, len(quality) + 1)]
    return replace(record, history={"step": steps, "quality": list(quality), **columns})


def test_equal_settings_are_pooled_whatever_made_them_and_others_are_not(make_record: Make) -> None:
    runs = [
        make_record(seed=0, run_id="a", experiment="reference", config=config()),
        make_record(seed=1, run_id="b", experiment="kl_beta", config=config()),
        make_record(seed=0, run_id="c", experiment="kl_beta", config=config(beta=0.01)),
    ]
    cells = NamedRuns.by(KL_BETA.label, runs).cells
    assert [(cell.method, cell.runs) for cell in cells] == [("beta 0", ("a", "b")), ("beta 0.01", ("c",))]
    faster = make_record(seed=2, run_id="d", config=config(learning_rate=1.0))
    methods = [cell.method for cell in NamedRuns.by(KL_BETA.label, [*runs, faster]).cells]
    assert len(methods) == 3 and any("learning_rate=1.0" in method for method in methods)


def test_values_at_the_end_of_training(make_record: Make) -> None:
    rising = with_quality(
        make_record(), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5], kl=[0.0, *[None] * 4, 4.0, *[None] * 4]
    )
    higher = with_quality(make_record(), [9.0] * 10, kl=[9.0] * 10)
    named = NamedRuns([rising, higher], {})
    assert end_value(rising, "quality") == 3  # the last five steps
    assert end_value(rising, "kl") == 4  # the one known value among these
    assert end_text("kl", 1)(named, [rising, higher]) == "6.5 (4.0 to 9.0)"
    assert end_text("kl", 1)(named, [higher]) == "9.0" and end_text("entropy")(named, [rising]) == "n/a"


def test_lengths_are_those_of_the_evaluation(make_record: Make) -> None:
    record = make_record()
    named = NamedRuns([record], {})
    assert length_text(named, [record, make_record(seed=1)]) == "2.0 → 4.0 (+2.0 [2.0, 2.0])"
    unknown = [replace(pair, policy=replace(pair.policy, tokens=None)) for pair in record.pairs]
    assert length_text(named, [replace(record, pairs=unknown)]) == "n/a"


def test_the_summary_follows_the_verdicts(make_record: Make) -> None:
    runs = [
        make_record(seed=s, run_id=f"{b}{s}", verdicts=won(w, scored=True), config=config(beta=b))
        for b, wins in ((0.0, (27, 36, 18)), (0.1, (18, 18, 18)))
        for s, w in enumerate(wins)
    ]
    named = NamedRuns.by(KL_BETA.label, runs)
    table = replace(KL_BETA, columns={"seeds": lambda _, own: str(len(own))}).summary_table(
        named, named.cells
    )
    first, second = texts(table)
    assert first[:3] == ["qwen", "pretrained", "beta 0"] and second[:3] == ["", "", "beta 0.1"]
    assert first[3].startswith("75.0 [") and second[3].startswith("50.0 [")
    assert [first[5], second[5]] == ["50.0 to 100.0 (3)", "50.0 to 50.0 (3)"]
    assert first[7].startswith("0.30 → 0.50 (+0.20 [") and second[7].startswith("0.40 → 0.40 (+0.00 [")
    assert first[8] == second[8] == "3"
    assert table.groups[0][0][3].bold and not table.groups[0][1][3].bold


def test_halfway_is_midway_from_the_start_to_the_best_end(make_record: Make) -> None:
    """Quality jumps from 0.2 to 0.8 at step 11, at step 6, or not: the running mean passes 0.5 where it jumps."""
    dense = config("token")
    runs = [
        with_quality(make_record(seed=0, run_id="a", config=config()), [0.2] * 10 + [0.8] * 10),
        with_quality(make_record(seed=1, run_id="b", config=config()), [0.2] * 5 + [0.8] * 15),
        with_quality(make_record(seed=0, run_id="c", config=dense), [0.2] * 20),
    ]
    assert halfway_text(NamedRuns.by(GRANULARITY.label, runs), runs) == "11 6 -"
    blind = [with_quality(run, [None] * 20) for run in runs]
    assert halfway_text(NamedRuns.by(GRANULARITY.label, blind), blind) == "n/a n/a n/a"


def test_granularity_names_and_orders_its_methods(make_record: Make, tmp_path: Path) -> None:
    runs = [
        make_record(run_id="a", reward="reverse_kl", config={"seed": 0, "trainer": {}}),
        make_record(run_id="b", config=config("token")),
        make_record(run_id="c", config=config()),
    ]
    summary, against = GRANULARITY.show(runs, "miniature", tmp_path).tables[:2]
    assert [row[2] for row in texts(summary)] == ["CME", "CME (dense)", "Reverse KL"]
    assert {row[3] for row in texts(against)} == {"CME"}
    assert summary.header[2] == against.header[2] == "granularity"
    assert (tmp_path / "tables" / "miniature-granularity.csv").exists()


def test_beta_is_drawn_where_its_runs_ended(make_record: Make) -> None:
    runs = [
        with_quality(
            make_record(seed=seed, run_id=f"{beta}-{seed}", verdicts=won(27), config=config(beta=beta)),
            [0.1, 0.5, 0.6],
            kl=[0.0, None, kl],
        )
        for beta, ends in ((0.0, (9.0, 16.0)), (0.1, (1.0, -0.01)))
        for seed, kl in enumerate(ends)
    ]
    named = NamedRuns.by(KL_BETA.label, runs)
    figure = distance_plot(named, named.cells).figure
    points = [
        (*line.get_xdata(), *line.get_ydata())
        for line in figure.axes[1].lines
        if line.get_markersize() == 5.5
    ]
    # the ends are the means of both values; a KL estimate below 0 is sampling noise, and its root is 0
    assert points[0] == pytest.approx(((sqrt(4.5) + sqrt(8)) / 2, 75))
    assert points[1] == pytest.approx((sqrt(0.5) / 2, 75))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["beta 0", "beta 0.1"]


def sized(make_record: Make, size: int, batch: int, wins: int) -> RunRecord:
    of = config(num_generations=size, per_device_train_batch_size=batch)
    return make_record(run_id=f"g{size}", verdicts=won(wins, scored=True), config=of)


def test_group_sizes_divide_one_budget(make_record: Make, tmp_path: Path) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18), (8, 36))]
    summary, against = GROUP_SIZE.show(runs, "miniature", tmp_path).tables[:2]
    rows = texts(summary)
    assert [row[2] for row in rows] == ["groups of 2", "groups of 8", "groups of 16"]
    assert [row[8] for row in rows] == ["32 x 2", "8 x 8", "4 x 16"]
    assert any("64 completions per step" in note for note in summary.notes)
    assert [row[2:4] for row in texts(against)] == [
        ["groups of 2", "groups of 8"],
        ["groups of 16", "groups of 8"],
    ]
    assert [row[5].split(" ")[0] for row in texts(against)] == ["-50.0", "-25.0"]
    unequal = GROUP_SIZE.show([*runs, sized(make_record, 4, 32, 18)], "miniature", tmp_path)
    assert any("completions per step: 32, 64" in note for note in unequal.tables[0].notes)


def test_group_sizes_are_drawn_in_order(make_record: Make) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18))]
    assert [group_size(run) for run in runs] == [16, 2]
    named = NamedRuns.by(GROUP_SIZE.label, runs)
    left, right = size_plot(named, named.cells).figure.axes
    assert list(left.lines[0].get_xdata()) == [2, 16] and list(left.lines[0].get_ydata()) == [50, 75]
    assert list(right.lines[0].get_ydata()) == pytest.approx([0.4, 0.5])
    assert left.get_xscale() == "log" and [t.get_text() for t in left.get_xticklabels()] == ["2", "16"]

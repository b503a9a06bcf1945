"""Experiments that compare methods: names, pooling, tables and figures, with numbers worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from shown import marks, panels, texts, won

from analysis.experiments.ablations import (
    GRANULARITY,
    GROUP_SIZE,
    KL,
    KL_BETA,
    LENGTH,
    distance_plots,
    end_column,
    end_values,
)
from analysis.experiments.methods import JudgedMethods, MethodRow, Methods, win_rate_plots
from cme.records import CUT_START, Comparison, RunRecord

pytestmark = pytest.mark.usefixtures("undrawn")

Make = Callable[..., RunRecord]


def config(**trainer: Any) -> dict[str, Any]:
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "num_generations": 8}
    settings = {"beta": 0.0, "scale_rewards": "group"} | sizes | trainer
    return {"seed": 0, "reward": {"granularity": "sequence"}, "trainer": settings}


def with_quality(record: RunRecord, quality: Sequence[float | None], **columns: Any) -> RunRecord:
    """The record with this quality at steps 1, 2, ... and these other columns."""
    steps = [float(step) for step in range(1, len(quality) + 1)]
    return replace(record, history={"step": steps, "quality": list(quality), **columns})


def view(experiment: Any, runs: Sequence[RunRecord]) -> JudgedMethods:
    """The view of runs under their only judge."""
    [only] = experiment.views(runs)
    assert isinstance(only, JudgedMethods)
    return only


def row(*runs: RunRecord) -> MethodRow:
    """The only cell of some runs as a row."""
    methods = Methods("x", "x", lambda run: "same")
    [[only]] = methods(runs)[0].groups
    return only


def test_equal_settings_are_pooled_whatever_made_them_and_others_are_not(make_record: Make) -> None:
    runs = [
        make_record(seed=0, run_id="a", experiment="reference", config=config()),
        make_record(seed=1, run_id="b", experiment="kl_beta", config=config()),
        make_record(seed=0, run_id="c", experiment="kl_beta", config=config(beta=0.01)),
    ]
    cells = view(KL_BETA, runs).cells
    assert [(cell.method, cell.runs) for cell in cells] == [
        ("CME, beta 0", ("a", "b")),
        ("CME, beta 0.01", ("c",)),
    ]
    faster = make_record(seed=2, run_id="d", config=config(learning_rate=1.0))
    methods = [cell.method for cell in view(KL_BETA, [*runs, faster]).cells]
    assert len(methods) == 3 and any("learning_rate=1.0" in method for method in methods)


def test_granularity_names_its_methods(make_record: Make) -> None:
    dense = config() | {"reward": {"granularity": "token"}}
    runs = [
        make_record(run_id="a", reward="reverse_kl", config={"seed": 0, "trainer": {}}),
        make_record(run_id="b", config=dense),
        make_record(run_id="c", config=config()),
    ]
    assert [cell.method for cell in view(GRANULARITY, runs).cells] == ["CME", "CME (dense)", "Reverse KL"]


def test_values_at_the_end_of_training(make_record: Make) -> None:
    rising = with_quality(
        make_record(seed=0), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5], kl=[0.0, *[None] * 4, 4.0, *[None] * 4]
    )
    higher = with_quality(make_record(seed=1), [9.0] * 10, kl=[9.0] * 10)
    both = row(rising, higher)
    assert list(end_values(both.history, "quality")) == [3, 9]  # the last five steps
    assert list(end_values(both.history, "kl")) == [4, 9]  # the one known value among these
    assert KL.text(both) == "6.5 (4.0 to 9.0)" and KL.text(row(higher)) == "9.0"
    assert end_column("x", "entropy", "x").text(row(rising)) == "n/a"


def test_lengths_are_those_of_the_evaluation(make_record: Make) -> None:
    record = make_record()
    assert LENGTH.text(row(record, make_record(seed=1))) == "2.0 → 4.0 (+2.0 [2.0, 2.0])"
    unknown = [replace(pair, policy=replace(pair.policy, tokens=None)) for pair in record.pairs]
    assert LENGTH.text(row(replace(record, pairs=unknown))) == "n/a"


def test_the_summary_follows_the_verdicts(make_record: Make) -> None:
    runs = [
        make_record(seed=s, run_id=f"{b}{s}", verdicts=won(w, scored=True), config=config(beta=b))
        for b, wins in ((0.0, (27, 36, 18)), (0.1, (18, 18, 18)))
        for s, w in enumerate(wins)
    ]
    [table] = KL_BETA.tables[0](view(KL_BETA, runs))
    first, second = texts(table)
    assert first[:3] == ["Qwen", "Pretrained", "CME, beta 0"] and second[:3] == ["", "", "CME, beta 0.1"]
    assert first[3].startswith("75.0 [") and second[3].startswith("50.0 [")
    assert [first[5], second[5]] == ["50.0 to 100.0 (3)", "50.0 to 50.0 (3)"]
    assert first[7].startswith("0.30 → 0.50 (+0.20 [") and second[7].startswith("0.40 → 0.40 (+0.00 [")
    assert table.groups[0][0][3].bold and not table.groups[0][1][3].bold


def test_settings_are_compared_within_a_reward_and_drawn_where_their_runs_ended(make_record: Make) -> None:
    """With the penalty CME falls from 75 to 50 %, and the random reward rises from 25 to 50 %."""
    wins = {("cme", 0.0): 27, ("cme", 0.1): 18, ("random", 0.0): 9, ("random", 0.1): 18}
    kl = {0.0: (9.0, 16.0), 0.1: (1.0, -0.01)}
    runs = [
        with_quality(
            make_record(
                reward=reward,
                seed=seed,
                run_id=f"{reward}{beta}{seed}",
                verdicts=won(count),
                config=config(beta=beta),
            ),
            [count / 100] * 3,
            kl=[0.0, None, kl[beta][seed]],
        )
        for (reward, beta), count in wins.items()
        for seed in range(2)
    ]
    shown = view(KL_BETA, runs)
    assert [(c.method, against.method, d.difference) for c, against, d, _ in shown.contrasts] == [
        ("CME, beta 0.1", "CME, beta 0", pytest.approx(-25)),
        ("Random, beta 0.1", "Random, beta 0", pytest.approx(25)),
    ]
    [plot] = distance_plots(shown)
    paths, ends = plot.figure.axes
    assert {float(line.get_ydata()[-1]) for line in paths.lines} >= {count / 100 for count in wins.values()}
    points = [(*line.get_xdata(), *line.get_ydata()) for line in ends.lines if line.get_markersize() == 5.5]
    # the ends are the means of both values; a KL estimate below 0 is sampling noise, and its root is 0
    assert points[0] == pytest.approx(((sqrt(4.5) + sqrt(8)) / 2, 75))
    assert points[1] == pytest.approx((sqrt(0.5) / 2, 50))


def sized(make_record: Make, size: int, batch: int, wins: int) -> RunRecord:
    trainer = config(num_generations=size, per_device_train_batch_size=batch)
    return make_record(run_id=f"g{size}", verdicts=won(wins, scored=True), config=trainer)


def test_group_sizes_divide_one_budget(make_record: Make, tmp_path: Path) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18), (8, 36))]
    summary, against = GROUP_SIZE.show(runs, tmp_path).tables[:2]
    assert [row[2] for row in texts(summary)] == [f"CME, groups of {size}" for size in (2, 8, 16)]
    shapes = [row[9] for row in texts(summary)]  # behind the ceiling
    assert shapes == ["32 x 2 = 64", "8 x 8 = 64", "4 x 16 = 64"]
    assert {row[3] for row in texts(against)} == {"CME, groups of 8"}
    assert [row[5].split(" ")[0] for row in texts(against)] == ["-50.0", "-25.0"]


def test_group_sizes_are_drawn_in_order_with_quality_and_controls(make_record: Make) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18))]
    random = [
        replace(run, reward="random", run_id=f"r{run.run_id}", verdicts=won(9, scored=True)) for run in runs
    ]
    cut = Comparison(CUT_START, "", [], policy=won(18), start=won(9))
    runs = [replace(run, comparisons=[cut]) for run in runs]
    [plot] = win_rate_plots(view(GROUP_SIZE, [*runs, *random]))
    left, right = panels(plot.figure)
    rows = [tick.get_text() for tick in left.get_yticklabels()]
    sizes = [f"groups of {size}" for size in (2, 16)]
    assert rows == ["Pretrained", *(f"{name}, {s}" for name in ("CME", "Random") for s in sizes), "Cut start"]
    assert marks(plot.figure)[0] == [25.0, 25.0, 50.0, 75.0, 75.0]  # the cut start wins 75 %
    assert marks(plot.figure)[1] == pytest.approx([0.3, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5])
    ceilings = {path.vertices[0][0] for lines in left.collections for path in lines.get_paths()}
    assert ceilings == {100.0} and "ceiling" in [text.get_text() for text in plot.figure.legends[0].texts]
    assert "(0 to 1)" in right.get_xlabel() and "(%)" in left.get_xlabel()

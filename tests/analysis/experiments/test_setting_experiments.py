"""Main table, rewards, granularity, advantages, beta and group size, with numbers worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from analysis.experiments import (
    NAMES,
    experiment_sections,
    granularity,
    group_size,
    kl_beta,
    main_table,
    rewards,
)
from analysis.experiments._settings import Compared, at_end, end_of, length_of, summary_table
from analysis.figures.overview import Plot
from analysis.records.names import sort_names
from analysis.records.read import Records
from analysis.tables.cells import build_contrasts
from analysis.tables.render import Table
from cme.records import (
    Accuracy,
    CheckpointResult,
    ExperimentRecord,
    Generation,
    Pair,
    RunRecord,
    Trajectory,
    Verdict,
)

PROMPTS = 36
SAID = Generation("7", True, 1)
Make = Callable[..., RunRecord]


def won(wins: int, scored: bool = False) -> list[Verdict]:
    """The policy wins on the first `wins` of 36 prompts in both orders and loses on the others."""
    verdicts = []
    for i in range(PROMPTS):
        start, policy = (0.2, 0.6) if i < wins else (0.6, 0.2)
        for first in (True, False):
            scores = ((policy, start) if first else (start, policy)) if scored else None
            verdicts.append(
                Verdict(f"p{i}", first, "first" if (i < wins) == first else "second", scores=scores)
            )
    return verdicts


def with_quality(record: RunRecord, quality: Sequence[float | None], **columns: Any) -> RunRecord:
    """The record with this quality at steps 1, 2, ... and these other columns."""
    steps = [float(step) for step in range(1, len(quality) + 1)]
    return replace(record, history={"step": steps, "quality": list(quality), **columns})


def config(**trainer: Any) -> dict[str, Any]:
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "num_generations": 8}
    return {
        "seed": 0,
        "reward": {"granularity": "sequence"},
        "trainer": {"beta": 0.0, "scale_rewards": "group"} | sizes | trainer,
    }


def texts(table: Table) -> list[list[str]]:
    return [[entry.text for entry in row] for group in table.groups for row in group]


def axes_of(plot: Plot, index: int) -> Any:
    return plot.figure.axes[index]


def test_numbers_in_names_are_ordered_by_value() -> None:
    names = ["groups of 16", "groups of 2", "beta 0.1", "beta 0", "beta 0.01", "lr 1e-05", "lr 3e-06"]
    ordered = ["beta 0", "beta 0.01", "beta 0.1", "groups of 2", "groups of 16", "lr 3e-06", "lr 1e-05"]
    assert sort_names(names) == ordered
    assert sort_names(["b", "a", "z"], ("z",)) == ["z", "a", "b"]


def test_equal_settings_are_pooled_whatever_made_them_and_others_are_not(make_record: Make) -> None:
    runs = [
        make_record(seed=0, run_id="a", experiment="reference", config=config()),
        make_record(seed=1, run_id="b", experiment="kl_beta", config=config()),
        make_record(seed=0, run_id="c", experiment="kl_beta", config=config(beta=0.01)),
    ]
    compared = Compared.by(kl_beta.label, runs)
    assert [(cell.method, cell.runs) for cell in compared.cells] == [
        ("beta 0", ("a", "b")),
        ("beta 0.01", ("c",)),
    ]
    faster = make_record(seed=2, run_id="d", config=config(learning_rate=1.0))
    methods = [cell.method for cell in Compared.by(kl_beta.label, [*runs, faster]).cells]
    assert len(methods) == 3 and any("learning_rate=1.0" in method for method in methods)


def test_values_at_the_end_of_training(make_record: Make) -> None:
    every = with_quality(
        make_record(), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5], kl=[0.0, *[None] * 4, 4.0, *[None] * 4]
    )
    assert at_end(every, "quality") == 3  # of the last five steps
    assert at_end(every, "kl") == 4  # the one known value of these
    higher = with_quality(make_record(), [9.0] * 10, kl=[9.0] * 10)
    assert end_of("kl", 1)([every, higher]) == "6.5 (4.0 to 9.0)"
    assert end_of("kl", 1)([higher]) == "9.0" and end_of("entropy")([every]) == "n/a"


def test_lengths_are_of_the_evaluation(make_record: Make) -> None:
    assert length_of([make_record(), make_record(seed=1)]) == "2.0 → 4.0 (+2.0 [2.0, 2.0])"
    record = make_record()
    unknown = [replace(pair, policy=replace(pair.policy, tokens=None)) for pair in record.pairs]
    assert length_of([replace(record, pairs=unknown)]) == "n/a"


def test_the_summary_has_what_the_verdicts_say(make_record: Make) -> None:
    runs = [
        make_record(seed=s, run_id=f"{b}{s}", verdicts=won(w, scored=True), config=config(beta=b))
        for b, wins in ((0.0, (27, 36, 18)), (0.1, (18, 18, 18)))
        for s, w in enumerate(wins)
    ]
    compared = Compared.by(kl_beta.label, runs)
    table = summary_table(
        compared, compared.cells, "KL penalty", "beta", {"seeds": lambda own: str(len(own))}, []
    )
    first, second = texts(table)
    assert first[:3] == ["qwen", "pretrained", "beta 0"] and second[:3] == ["", "", "beta 0.1"]
    assert first[3].startswith("75.0 [") and second[3].startswith("50.0 [")
    assert [first[5], second[5]] == ["50.0 to 100.0 (3)", "50.0 to 50.0 (3)"]
    assert first[7].startswith("0.30 → 0.50 (+0.20 [") and second[7].startswith("0.40 → 0.40 (+0.00 [")
    assert first[8] == second[8] == "3"
    assert table.groups[0][0][3].bold and not table.groups[0][1][3].bold


def main_records(make_record: Make) -> list[RunRecord]:
    return [
        make_record(family="qwen", regime="pretrained", verdicts=won(36, scored=True)),
        make_record(family="qwen", regime="instruct", verdicts=won(18, scored=True)),
        make_record(family="olmo", regime="sft", verdicts=won(6, scored=True)),
    ]


def test_main_table_keeps_published_and_ours_apart(make_record: Make) -> None:
    cells = Compared.by(lambda run: run.reward, main_records(make_record)).cells
    table = main_table.beside_table(cells)
    rows = {row[0]: row[1:] for row in texts(table)}
    assert table.header[1:] == ["published (other scale)", "ours (scale: miniature)"]
    low, high = rows["lowest win rate of a cell (%)"], rows["highest win rate of a cell (%)"]
    assert (low[0], high[0]) == ("52.5", "71.4")
    assert low[1].startswith("16.7 [") and low[1].endswith("(olmo sft)")
    assert high[1].startswith("100.0 [") and high[1].endswith("(qwen pretrained)")
    assert [rows[f"cells told {side} 50 %"][1] for side in ("above", "below")] == ["1", "1"]
    assert rows["cells"] == ["7 have a configuration", "3"]
    assert "arXiv 2605.29009" in " ".join(table.notes)


def test_main_figure_marks_the_published_range_and_where_quality_went(make_record: Make) -> None:
    cells = Compared.by(lambda run: run.reward, main_records(make_record)).cells
    left, right = main_table.main_plot(cells).figure.axes
    [band] = [patch for patch in left.patches if isinstance(patch, Rectangle)]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((52.5, 71.4))
    assert [text.get_text() for text in left.texts] == ["published range,\nother scale"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["olmo", "sft", "qwen", "pretrained", "instruct"]
    dots = {
        line.get_ydata()[0]: line.get_xdata()[0]
        for line in right.lines
        if line.get_marker() == "o" and line.get_markersize() == 5
    }
    assert dots == pytest.approx({-1: 0.6 * 6 / 36 + 0.2 * 30 / 36, -3: 0.6, -4: 0.4})


def test_main_table_without_scores_has_no_second_panel(make_record: Make) -> None:
    cells = Compared.by(lambda run: run.reward, [make_record(verdicts=won(20))]).cells
    assert len(main_table.main_plot(cells).figure.axes) == 1


def test_rewards_are_held_against_cme_with_holm(make_record: Make) -> None:
    wins = {"ground_truth": 33, "random": 18, "cme": 27, "dpo": 24, "best_of_n_cme": 21}
    runs = [make_record(reward=name, verdicts=won(n)) for name, n in wins.items()]
    compared = Compared.by(lambda run: run.reward, runs)
    rows = texts(rewards.rewards_table(compared, compared.cells))
    assert [row[2] for row in rows] == ["cme", "best_of_n_cme", "random", "dpo", "ground_truth"]
    assert [row[3] for row in rows][2:4] == ["control", "preference pairs"]
    assert [row[6].split(" ")[0] for row in rows] == ["-", "-16.7", "-25.0", "-8.3", "+16.7"]
    raw = sorted((of.p, cell.method) for cell, _, of, _ in build_contrasts(compared.cells))
    held = {row[2]: row[7] for row in rows}
    smallest, method = raw[0]
    assert held[method] == ("<0.001" if 4 * smallest < 0.001 else f"{4 * smallest:.3f}")
    assert held["cme"] == "-"


def test_rewards_say_how_a_policy_ended(make_record: Make) -> None:
    fell = make_record(reward="token_entropy", verdicts=won(3, scored=True), stopped="no reward differs")
    fine = make_record(reward="cme", verdicts=won(30, scored=True))
    unscored = make_record(reward="random", verdicts=won(3))
    compared = Compared.by(lambda run: run.reward, [fine, fell, unscored])
    ends = {row[2]: row[-1] for row in texts(rewards.rewards_table(compared, compared.cells))}
    assert ends == {
        "cme": "-",
        "token_entropy": "below its start; 1 of 1 stopped",
        "random": "below its start",
    }


def test_rewards_say_where_a_policy_collapsed(make_record: Make) -> None:
    ids = [f"s{i}" for i in range(12)]
    path = [
        CheckpointResult(step, [[1.0, 1.0]] * 12, [quality] * 12, {})
        for step, quality in ((10, 0.7), (20, 0.3), (30, 0.1))
    ]
    record = make_record(
        verdicts=won(30, scored=True), trajectory=Trajectory("oracle", ids, [0.5] * 12, path)
    )
    compared = Compared.by(lambda run: run.reward, [record])
    [row] = texts(rewards.rewards_table(compared, compared.cells))
    assert row[-1] == "collapsed at 20"


def test_halfway_is_midway_from_the_start_to_the_best_end(make_record: Make) -> None:
    """Quality jumps from 0.2 to 0.8 at step 11, at step 6, or not: the running mean passes 0.5 where it jumps."""
    token = config() | {"reward": {"granularity": "token"}}
    runs = [
        with_quality(make_record(seed=0, run_id="a", config=config()), [0.2] * 10 + [0.8] * 10),
        with_quality(make_record(seed=1, run_id="b", config=config()), [0.2] * 5 + [0.8] * 15),
        with_quality(make_record(seed=0, run_id="c", config=token), [0.2] * 20),
    ]
    halfway = granularity.halfway_steps(Compared.by(granularity.label, runs))
    assert halfway == {"a": "11", "b": "6", "c": "-"}
    blind = [with_quality(run, [None] * 20) for run in runs]
    assert set(granularity.halfway_steps(Compared.by(granularity.label, blind)).values()) == {"n/a"}


def test_granularity_names_and_orders_its_methods(make_record: Make, tmp_path: Path) -> None:
    token = config() | {"reward": {"granularity": "token"}}
    runs = [
        make_record(run_id="a", reward="reverse_kl", config={"seed": 0, "trainer": {}}),
        make_record(run_id="b", config=token),
        make_record(run_id="c", config=config()),
    ]
    part = granularity.part(runs, "miniature", tmp_path)
    summary, against = part.tables[:2]
    assert [row[2] for row in texts(summary)] == ["sequence", "token", "reverse KL"]
    assert {row[3] for row in texts(against)} == {"sequence"}
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
    compared = Compared.by(kl_beta.label, runs)
    plot = kl_beta.drift_paths(compared, compared.cells)
    right = axes_of(plot, 1)
    points = [(*line.get_xdata(), *line.get_ydata()) for line in right.lines if line.get_markersize() == 5.5]
    # an estimate of KL below 0 is sampling noise: its root is 0; the marks are means of both kl values' windows
    ends = [[at_end(run, "kl") for run in runs if run.run_id.startswith(f"{beta}-")] for beta in (0.0, 0.1)]
    assert ends == [[4.5, 8.0], [0.5, -0.005]]
    assert points[0] == pytest.approx(((sqrt(4.5) + sqrt(8)) / 2, 75))
    assert points[1] == pytest.approx((sqrt(0.5) / 2, 75))
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == ["beta 0", "beta 0.1"]


def sized(make_record: Make, size: int, batch: int, wins: int) -> RunRecord:
    of = config(num_generations=size, per_device_train_batch_size=batch)
    return make_record(run_id=f"g{size}", verdicts=won(wins, scored=True), config=of)


def test_group_sizes_share_out_one_budget(make_record: Make, tmp_path: Path) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18), (8, 36))]
    part = group_size.part(runs, "miniature", tmp_path)
    rows = texts(part.tables[0])
    assert [row[2] for row in rows] == ["groups of 2", "groups of 8", "groups of 16"]
    assert [row[8] for row in rows] == ["32 x 2", "8 x 8", "4 x 16"]
    assert any("All runs have 64 completions a step" in note for note in part.tables[0].notes)
    against = texts(part.tables[1])
    assert [(row[2], row[3]) for row in against] == [
        ("groups of 2", "groups of 8"),
        ("groups of 16", "groups of 8"),
    ]
    assert [row[5].split(" ")[0] for row in against] == ["-50.0", "-25.0"]
    unequal = group_size.part([*runs, sized(make_record, 4, 32, 18)], "miniature", tmp_path)
    assert any("do not have equal completions a step: 32, 64" in note for note in unequal.tables[0].notes)


def test_group_sizes_are_drawn_in_order(make_record: Make) -> None:
    runs = [sized(make_record, size, 64, wins) for size, wins in ((16, 27), (2, 18))]
    compared = Compared.by(group_size.label, runs)
    left, right = group_size.size_plot(compared, compared.cells).figure.axes
    assert list(left.lines[0].get_xdata()) == [2, 16] and list(left.lines[0].get_ydata()) == [50, 75]
    assert list(right.lines[0].get_ydata()) == pytest.approx([0.4, 0.5])
    assert left.get_xscale() == "log" and [t.get_text() for t in left.get_xticklabels()] == ["2", "16"]


def whole_runs(make_record: Make, **fields: Any) -> list[RunRecord]:
    """Two seeds of a run that every experiment can show, graded too."""
    of = config() | {"data": {"name": "arithmetic"}, "verifier": {"name": "gemma", "family": "gemma"}}
    runs = [
        make_record(seed=seed, run_id=f"r{seed}", config=of | {"seed": seed}, **({"steps": 40} | fields))
        for seed in (0, 1)
    ]
    pairs = [Pair(f"p{i}", "q", None, SAID, SAID, "7") for i in range(24)]
    accuracy = Accuracy([False] * 24, [True] * 24)
    return [replace(run, pairs=pairs, accuracy=accuracy) for run in runs]


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_writes_its_section(name: str, make_record: Make, tmp_path: Path) -> None:
    manifest = ExperimentRecord(name, "miniature", ["r0", "r1", "r2"])
    [section] = experiment_sections(Records(whole_runs(make_record), [], [], [manifest]), tmp_path)
    assert section.id == name.replace("_", "-")
    [part] = section.parts
    assert part.notes == ["Scale miniature: 1 of the experiment's 3 runs have no record yet."]
    assert len({table.name for table in part.tables}) == len(part.tables)
    assert part.images and all("miniature" in image.caption for image in part.images)
    assert all("miniature" in table.title for table in part.tables if "published" not in table.name)


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_nothing_was_judged_or_graded_of_are_said_and_no_error(
    name: str, make_record: Make, tmp_path: Path
) -> None:
    runs = [replace(run, verdicts=[], accuracy=None) for run in whole_runs(make_record)]
    manifest = ExperimentRecord(name, "miniature", ["r0", "r1", "r2"])
    [section] = experiment_sections(Records(runs, [], [], [manifest]), tmp_path)
    [part] = section.parts
    assert part.notes[0] == "Scale miniature: 1 of the experiment's 3 runs have no record yet."
    assert bool(part.tables) != (len(part.notes) == 2)  # no table, and no word of why, would be a riddle
    assert part.tables or "none of" in part.notes[1]

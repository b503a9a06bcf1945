"""Every experiment as a section of the report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shown import problems, won

from analysis.experiments import EXPERIMENTS, experiment_sections
from analysis.records.read import Records
from cme.records import Accuracy, ExperimentRecord, Generation, Pair, RunRecord

Make = Callable[..., RunRecord]
OWN = "my_runs"
"""An experiment of a user."""
DISTINCT = list({one.tables: name for name, one in reversed(EXPERIMENTS.items())}.values())[::-1]
"""The experiments without copies of a declaration under another name, which show the same."""


def whole_runs(make_record: Make) -> list[RunRecord]:
    """Two seeds of a run that every experiment can show, graded too."""
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "num_generations": 8}
    config: dict[str, Any] = {
        "reward": {"granularity": "sequence"},
        "trainer": {"beta": 0.0, "scale_rewards": "group"} | sizes,
        "data": {"name": "arithmetic"},
        "verifier": {"name": "gemma", "family": "gemma"},
    }
    answer = Generation("7", True, 1)
    pairs = [Pair(f"p{i}", "q", None, answer, answer, "7") for i in range(24)]
    accuracy = Accuracy(problems(0, 24), problems(24, 24))
    return [
        replace(
            make_record(seed=seed, run_id=f"r{seed}", config=config | {"seed": seed}, steps=40),
            pairs=pairs,
            accuracy=accuracy,
        )
        for seed in (0, 1)
    ]


def test_every_experiment_writes_its_section(make_record: Make, tmp_path: Path) -> None:
    plans = [ExperimentRecord(name, "miniature", ["r0", "r1", "r2"]) for name in (*DISTINCT, OWN)]
    sections = experiment_sections(Records(whole_runs(make_record), [], [], plans), tmp_path)
    anchors = [*(name.replace("_", "-") for name in DISTINCT), "experiment-my-runs"]
    assert sorted(section.id for section in sections) == sorted(anchors)
    for section in sections:
        [part] = section.parts
        assert len(part.notes) == 1 and "1 of the experiment's 3 runs" in part.notes[0]
        assert len({table.name for table in part.tables}) == len(part.tables)
        assert part.images and all("miniature" in image.caption for image in part.images)
        assert all("miniature" in table.title for table in part.tables if "published" not in table.name)


@pytest.mark.parametrize("name", DISTINCT)
def test_runs_without_a_measure_give_a_note_and_no_error(
    name: str, make_record: Make, tmp_path: Path
) -> None:
    nothing = {"step": [1.0, 2.0]}
    bare = [replace(run, verdicts=[], accuracy=None, history=nothing) for run in whole_runs(make_record)]
    plan = ExperimentRecord(name, "miniature", ["r0", "r1", "r2"])
    [section] = experiment_sections(Records(bare, [], [], [plan]), tmp_path)
    [part] = section.parts
    assert bool(part.tables) != (len(part.notes) == 2)  # without a table, a note gives the reason


def test_data_sets_are_shown_apart(make_record: Make, tmp_path: Path) -> None:
    """On `world` CME wins 75 % and the random reward 25; on `arithmetic` CME wins 25 % and the random reward 50."""

    def run(reward: str, wins: int, data: str, seed: int = 0) -> RunRecord:
        config = {"seed": seed, "data": {"name": data}}
        return make_record(
            reward=reward, seed=seed, run_id=f"{reward}-{data}-{seed}", verdicts=won(wins), config=config
        )

    runs = [
        *(run("cme", 27, "world", seed) for seed in (0, 1)),
        *(run("random", 9, "world", seed) for seed in (0, 1)),
        run("cme", 9, "arithmetic"),
        run("random", 18, "arithmetic"),
    ]
    for name in ("rewards", OWN):
        plan = ExperimentRecord(name, "miniature", [one.run_id for one in runs])
        out = tmp_path / name
        [section] = experiment_sections(Records(runs, [], [], [plan]), out)
        world, arithmetic = section.parts
        assert not any("data: " in table.title for table in world.tables)
        assert all(table.title.endswith(", data: arithmetic") for table in arithmetic.tables)
        assert all(", data: arithmetic. " in image.caption for image in arithmetic.images)
        stem = f"miniature-{name.replace('_', '-')}"
        rates = {}
        for data in ("", "-arithmetic"):
            frame = pd.read_csv(out / "tables" / f"{stem}{data}.csv").set_index("method")
            rates[data] = frame[["win_rate", "contrast_difference"]].fillna(0).T.to_dict("list")
        assert rates == {
            "": {"CME": [75, 0], "Random": [25, -50]},
            "-arithmetic": {"CME": [25, 0], "Random": [50, 25]},
        }
        figures = {path.name.split("miniature")[0] for path in (out / "figures").glob("*win-rates*.png")}
        assert figures == {f"{stem[10:]}-win-rates-", f"{stem[10:]}-arithmetic-win-rates-"}

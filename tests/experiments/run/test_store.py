"""Where files lie, and what a record says about the machine."""

import os
import platform
from pathlib import Path

import pytest
import torch
from small_runs import composed

from cme import Unavailable
from cme.records import ExperimentRecord, read_record
from experiments.config import composition, identity
from experiments.run.provenance import environment
from experiments.run.store import Store, add_to_experiments


def test_files_lie_under_results_dir(tmp_path: Path) -> None:
    config = composed([f"results_dir={tmp_path}"])
    store = Store(config)
    assert store.folder == tmp_path / config.run_id
    assert store.start == tmp_path / "starts" / f"{identity.start_id(config)}.json"
    files = [store.checkpoint, store.training, store.generations, store.verdicts, store.record]
    assert len({*files}) == 5
    run_files = [store.verdicts, store.record]
    assert all(f.parent == store.folder for f in run_files)
    assert all(f.parent == store.trained for f in files if f not in run_files)
    assert list(tmp_path.iterdir()) == []


def test_environment_names_versions_and_no_host() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert {"torch", "transformers", "trl", "device"} <= set(found)
    assert torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() in found["device"]
    said = " ".join(found.values())
    assert platform.node() not in said
    assert os.path.expanduser("~") not in said  # noqa: PTH111


def test_runs_of_an_experiment_are_written_once(tmp_path: Path) -> None:
    words = ["-m", f"results_dir={tmp_path}", "+experiment.name=mine"]
    add_to_experiments(composition.compose_cells([*words, "seed=0"]))
    [path] = tmp_path.glob("experiments/*.json")
    written = path.stat().st_ino
    add_to_experiments(composition.compose_cells([*words, "seed=0"]))
    assert path.stat().st_ino == written
    add_to_experiments(composition.compose_cells([*words, "seed=1"]))
    assert len(read_record(path, ExperimentRecord).runs) == 2 and path.stat().st_ino != written


def test_an_experiment_that_cannot_be_written_down_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "experiments").write_text("a file in the folder's place")
    with pytest.raises(
        Unavailable, match=r"experiments/miniature-mine\.experiment\.json\.lock cannot be written"
    ):
        add_to_experiments(composition.compose_cells([f"results_dir={tmp_path}", "+experiment.name=mine"]))

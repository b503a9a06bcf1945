"""Where files lie, and what a record says about the machine."""

import os
import platform
from pathlib import Path

from experiments import grid, identity
from experiments.store import Store, environment


def test_files_lie_under_results_dir(tmp_path: Path) -> None:
    [config] = grid.cells([f"results_dir={tmp_path}"])
    store = Store.of(config)
    assert store.folder == tmp_path / identity.run_id(config)
    assert store.start == tmp_path / "starts" / f"{identity.start_id(config)}.json"
    files = [store.checkpoint, store.training, store.generations, store.verdicts, store.record]
    assert len({*files}) == 5
    assert all(f.parent == store.folder for f in files)
    assert list(tmp_path.iterdir()) == []


def test_environment_names_versions_and_no_host() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert {"torch", "transformers", "trl", "device"} <= set(found)
    said = " ".join(found.values())
    assert platform.node() not in said
    assert os.path.expanduser("~") not in said  # noqa: PTH111

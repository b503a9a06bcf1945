"""Cells of milliseconds on a Ray cluster of two nodes, one of which is lost while it works."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import SUPPORT
from ray_nodes import lose, two_nodes

from experiments.sweep import launchers

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    path = os.pathsep.join([str(launchers.ROOT), str(SUPPORT)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.chdir(tmp_path)
    yield from two_nodes(monkeypatch)


def test_cells_of_a_lost_node_run_on_another(nodes: Any) -> None:
    cells = [[f"seed={seed}", "results_dir=runs"] for seed in range(4)]
    arguments = ["-m", "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{nodes.address}'"]
    code = (
        "import toy_cells; from experiments.sweep import launchers; "
        f"launchers.check_launcher({arguments}); launchers.launch({cells}, {arguments}, toy_cells.held)"
    )
    with Path("log").open("w") as log:
        sweep = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)
    while len(list(Path("runs").glob("*/begun-*"))) < 2:
        assert sweep.poll() is None, Path("log").read_text()
        time.sleep(0.1)
    lost = lose(nodes)
    Path("runs/go").touch()
    assert sweep.wait(timeout=120) == 0, Path("log").read_text()
    begun = [int(p.name.removeprefix("begun-")) for p in Path("runs").glob("*/begun-*")]
    assert len(set(begun) & lost) == 1
    assert len(set(begun)) == 5  # a process a cell, and one more for the lost cell
    assert {int(p.parent.name) for p in Path("runs").glob("*/done")} == {0, 1, 2, 3}

"""A sweep on a Ray cluster of two nodes, both on this machine, one of which is lost while it works."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments import launchers

pytest.importorskip("ray", reason="pip install -c constraints.txt -e '.[ray]'")
pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="pip install --no-deps hydra-ray-launcher")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of a core each; the second is worker_nodes' only one. They are started where no relative path holds."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.chdir("/")
    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    made.add_node(**size)
    monkeypatch.chdir(tmp_path)
    yield made
    made.shutdown()


def lose(cluster: Any) -> list[int]:
    """SIGKILL the second node, its raylet first; returns its workers' process ids."""
    [node] = cluster.worker_nodes
    [raylet] = node.all_processes["raylet"]
    workers = psutil.Process(raylet.process.pid).children(recursive=True)
    raylet.process.kill()
    for worker in workers:
        worker.kill()
    return [worker.pid for worker in workers]


def until(holds: Callable[[], bool], sweep: "subprocess.Popen[str]", seconds: float = 120) -> None:
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.1)
    raise TimeoutError


def start(cluster: Any, code: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def of_ray(cluster: Any) -> list[str]:
    return ["-m", "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{cluster.address}'"]


def test_cells_of_a_lost_node_run_on_another(cluster: Any, tmp_path: Path) -> None:
    cells = [[f"seed={seed}", "results_dir=runs"] for seed in range(4)]
    code = (
        f"import sys; sys.path[:0] = {[str(launchers.ROOT), str(Path(__file__).parent)]}; import toy_cells; "
        f"from experiments import launchers; launchers.launch({cells}, {of_ray(cluster)}, toy_cells.held)"
    )
    sweep = start(cluster, ["-c", code])
    until(lambda: len(list(Path("runs").glob("*/begun-*"))) == 2, sweep)
    lost = lose(cluster)
    Path("runs/go").touch()
    assert sweep.wait(timeout=120) == 0, sweep.communicate()
    begun = [int(p.name.removeprefix("begun-")) for p in Path("runs").glob("*/begun-*")]
    assert len(set(begun) & set(lost)) == 1
    assert len(begun) == 5
    assert {int(p.parent.name) for p in Path("runs").glob("*/done")} == {0, 1, 2, 3}
    assert len({p.read_text().split()[0] for p in Path("runs").glob("*/done")}) == 4  # a process a cell

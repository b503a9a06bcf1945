"""A Ray cluster of two nodes on this machine, and the loss of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest


def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes of a core each, started in a directory where no relative path holds."""
    pytest.importorskip("ray", reason="make ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="make ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    before = Path.cwd()
    monkeypatch.chdir("/")
    cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    cluster.add_node(**size)
    monkeypatch.chdir(before)
    yield cluster
    cluster.shutdown()


def lose(cluster: Any) -> set[int]:
    """SIGKILL the second node, its raylet first; returns its processes."""
    [node] = cluster.worker_nodes
    [raylet] = node.all_processes["raylet"]
    workers = psutil.Process(raylet.process.pid).children(recursive=True)
    raylet.process.kill()
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)
    return {worker.pid for worker in workers}

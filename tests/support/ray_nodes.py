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
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at its usual 15 a busy machine starves the workers
    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    before = Path.cwd()
    monkeypatch.chdir("/")
    cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    cluster.add_node(**size)
    monkeypatch.chdir(before)
    yield cluster
    cluster.shutdown()


def processes(cluster: Any) -> list[psutil.Process]:
    """The second node's raylet, and then its workers."""
    [node] = cluster.worker_nodes
    [raylet] = node.all_processes["raylet"]
    parent = psutil.Process(raylet.process.pid)
    return [parent, *parent.children(recursive=True)]


def lose(cluster: Any) -> set[int]:
    """SIGKILL the second node, its raylet first; returns its process ids."""
    found = processes(cluster)
    for process in found:
        process.kill()
    psutil.wait_procs(found, timeout=10)
    return {process.pid for process in found}

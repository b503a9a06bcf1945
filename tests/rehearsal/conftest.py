"""The stand-ins as fixtures: built once per version of their builder, and shared by all processes."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from cme.models.packages import cache_dir
from tests.rehearsal.__main__ import PARTS
from tests.rehearsal.parts import Rehearsal
from tests.rehearsal.stand_ins import checkpoints as stand_in_checkpoints
from tests.rehearsal.stand_ins import data_sets, hub_cache, texts
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.judge_server import JudgeServer, serving

HERE = Path(__file__).parent


def home() -> Path:
    """A folder whose name changes with everything that the stand-ins are made from."""
    sources = [*sorted((HERE / "stand_ins").glob("*.py")), *sorted(texts.BUNDLED.glob("*.jsonl"))]
    versions = [version(package) for package in ("transformers", "tokenizers", "trl", "datasets")]
    content = b"".join(path.read_bytes() for path in sources) + repr(versions).encode()
    return cache_dir() / "rehearsal" / hashlib.sha256(content).hexdigest()[:12]


@pytest.fixture(scope="session")
def checkpoints() -> HubCache:
    """A cache with the checkpoints alone, taught for a few steps: built in seconds."""
    few = partial(stand_in_checkpoints.build, steps=stand_in_checkpoints.FEW_STEPS)
    return hub_cache.build(home() / "few-steps", {"checkpoints": few})


@pytest.fixture(scope="session")
def hub() -> HubCache:
    """A cache with checkpoints and data sets."""
    return hub_cache.build(home(), PARTS)


@pytest.fixture(scope="session")
def snapshot(checkpoints: HubCache) -> Callable[[str], str]:
    """The folder of a checkpoint, by its hub id."""
    return lambda name: str(checkpoints.snapshot(name))


@pytest.fixture(scope="session")
def local_copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small local files in the data sets' formats."""
    return data_sets.write_local_copies(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="session")
def rehearsal(hub: HubCache, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Rehearsal]:
    """The parts of the rehearsal, each run once in one of the workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "rehearsal"
    folder.mkdir(exist_ok=True)
    with serving() as server:
        yield Rehearsal(hub, server, folder)


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    """A judge server that never fails."""
    with serving() as server:
        yield server

"""A hub on loopback with gated, missing and public repositories, which clients reach over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from http_stub import StubHandler, StubServer, serving
from paths import ROOT

UNKNOWN = 404, {"X-Error-Code": "RepoNotFound"}
PUBLIC = 200, {"X-Repo-Commit": "0" * 40, "ETag": '"1"'}
REPOSITORIES = {
    "owner/public": PUBLIC,
    "owner/public-data": PUBLIC,
    "owner/broken": (503, {}),
    "meta-llama/Llama-3.2-1B-Instruct": (401, {"X-Error-Code": "GatedRepo"}),
    "google/gemma-4-E4B-it": (403, {"X-Error-Code": "GatedRepo"}),
    "owner/gated-data": (403, {"X-Error-Code": "GatedRepo"}),
}
"""Status and headers of the hub's answer for any file of a repository."""


class Hub(StubHandler):
    """Notes the HEAD requests, which are those for files; to every GET the hub has nothing."""

    def get(self) -> None:
        if self.command == "HEAD":
            self.server.paths.append(self.path)
        name = self.path.removeprefix("/datasets").strip("/").split("/resolve/")[0]
        status, headers = REPOSITORIES.get(name, UNKNOWN)
        if "/resolve/absent/" in self.path:
            status, headers = 404, {"X-Error-Code": "RevisionNotFound"}
        self.send(status, b"", length=2 if status == 200 else None, **headers)


class HubStub(StubServer):
    """Keeps the `paths` of the files that it was asked for."""

    def __init__(self) -> None:
        super().__init__(Hub)
        self.paths: list[str] = []


@contextmanager
def running() -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that runs for the block, and the paths of the files that it was asked for."""
    with serving(HubStub()) as hub:
        yield hub.address, hub.paths


def environment(home: Path, endpoint: str, offline: bool = False) -> dict[str, str]:
    """Variables of a process that uses this hub, an empty cache, and no key."""
    private = ("HF_", "OPENAI_", "TRANSFORMERS_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(private)}
    variables = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    return inherited | variables | {"PYTHONPATH": str(ROOT)}


def python(code: str, environment: dict[str, str]) -> object:
    """The JSON that a new process prints: the hub's client reads its environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

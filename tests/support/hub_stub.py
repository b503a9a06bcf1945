"""A hub on the loopback: gated, missing and public repositories, asked for over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parents[2]
GATED = {"meta-llama/Llama-3.2-1B-Instruct": 401, "google/gemma-4-E4B-it": 403, "owner/gated-data": 403}
PUBLIC = ("owner/public", "owner/public-data")
REFUSED = {"owner/broken": 503}


class Hub(BaseHTTPRequestHandler):
    """Answers a HEAD for any file of a repository as the hub does: its status, and its reason in X-Error-Code."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        name = self.path.removeprefix("/datasets").strip("/").split("/resolve/")[0]
        status, headers = 404, {"X-Error-Code": "RepoNotFound"}
        if name in PUBLIC:
            status, headers = 200, {"X-Repo-Commit": "0" * 40, "ETag": '"1"', "Content-Length": "2"}
        elif name in GATED:
            status, headers = GATED[name], {"X-Error-Code": "GatedRepo"}
        elif name in REFUSED:
            status, headers = REFUSED[name], {}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to the test's output."""


@contextmanager
def running() -> Iterator[tuple[str, list[str]]]:
    """The address of a hub while the block lasts, and the paths that it was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Hub,), {"asked": asked}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def environment(home: Path, endpoint: str, offline: bool = False) -> dict[str, str]:
    """Of a process that knows this hub, an empty cache, and no key."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "OPENAI_", "TRANSFORMERS_"))}
    own = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": str(int(offline)),
        "PYTHONPATH": str(ROOT),
    }
    return kept | own


def python(code: str, environment: dict[str, str]) -> object:
    """What a process of its own prints as JSON: the hub's client reads its environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

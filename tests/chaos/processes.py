"""A run's process: `python run.py` started anew, or forked from a process that has already done the imports."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from tests.support import forked

ROOT = Path(__file__).resolve().parents[2]
SABOTEUR = Path(__file__).resolve().parent / "saboteur"


class Process(Protocol):
    """A running process."""

    def kill(self) -> None:
        """Send it SIGKILL."""

    def poll(self) -> int | None:
        """Its exit code, the negative signal if it was killed, None while it runs."""


class _Forked:
    def __init__(self, process: forked.ForkServerProcess) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode


def start(
    words: Sequence[str], cwd: Path, variables: Mapping[str, str], stderr: BinaryIO, fresh: bool
) -> Process:
    """Start `python run.py WORDS` in a folder, with further environment variables; stderr is appended to a file."""
    sabotaged = "CHAOS" in variables
    if not fresh:
        before = SABOTEUR / "sitecustomize.py" if sabotaged else None
        return _Forked(forked.start(words, cwd, variables, Path(os.devnull), Path(stderr.name), before))
    own = {"PYTHONPATH": str(SABOTEUR)} if sabotaged else {}
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.Popen(
        command, cwd=cwd, env=os.environ | dict(variables) | own, stdout=subprocess.DEVNULL, stderr=stderr
    )

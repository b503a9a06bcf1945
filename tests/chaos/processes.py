"""A run's process: `python run.py` started anew, or forked from a process that has already done the imports."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from tests.support import forked

ROOT = Path(__file__).resolve().parents[2]
SABOTEUR = Path(__file__).resolve().parent / "saboteur"

Process = subprocess.Popen[bytes] | forked.ForkServerProcess


def exit_code(process: Process) -> int | None:
    """The exit code, the negative signal if it was killed, None while it runs."""
    return process.poll() if isinstance(process, subprocess.Popen) else process.exitcode


def start(
    words: Sequence[str], cwd: Path, variables: Mapping[str, str], stderr: BinaryIO, fresh: bool
) -> Process:
    """Start `python run.py WORDS` in a folder, with further environment variables; stderr is appended to a file."""
    sabotaged = "CHAOS" in variables
    if not fresh:
        before = SABOTEUR / "sitecustomize.py" if sabotaged else None
        return forked.start(words, cwd, variables, Path(os.devnull), Path(stderr.name), before)
    environment = os.environ | dict(variables) | ({"PYTHONPATH": str(SABOTEUR)} if sabotaged else {})
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)

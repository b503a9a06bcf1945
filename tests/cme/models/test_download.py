"""A download obeys a signal at once, and leaves no process behind, while its server sends nothing."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hub_stub
import psutil
import pytest
from paths import ROOT

CODE = """
import sys
from cme.models.hub import Repository, fetch_snapshot
from cme.runtime.command_line import exit_code

sys.exit(exit_code(lambda: fetch_snapshot(Repository("owner/slow")) and 0))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_download_ends_with_its_command(number: int, code: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = hub_stub.environment(tmp_path, address) | {"HF_HUB_DOWNLOAD_TIMEOUT": "600"}
        command = subprocess.Popen([sys.executable, "-c", CODE], env=environment, cwd=ROOT)
        with command:
            silent.settimeout(120)
            silent.accept()  # the hub is asked, and says nothing
            [child] = psutil.Process(command.pid).children()
            began = time.monotonic()
            command.send_signal(number)
            assert command.wait(60) == code
        gone, alive = psutil.wait_procs([child], timeout=60)
        assert gone and not alive
        assert time.monotonic() - began < 60


def test_a_download_that_fails_says_why(tmp_path: Path) -> None:
    """Also from a script that does not guard what it does on import."""
    script = tmp_path / "script.py"
    script.write_text(
        "from cme.models.download import download\nprint(download({'repo_id': 'owner/none'}))\n"
    )
    with hub_stub.running() as (url, _):
        environment = hub_stub.environment(tmp_path, url)
        done = subprocess.run(
            [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    assert "RepositoryNotFoundError" in done.stdout and done.stdout.startswith("('', ")

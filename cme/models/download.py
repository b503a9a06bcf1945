"""Download of a repository in a process of its own: a signal would wait for the threads of a download in this one.

The process is a new interpreter, so that no script of the user's is imported in it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from cme.runtime.errors import describe
from cme.runtime.signals import end_with_parent


def download(repository: Mapping[str, Any]) -> tuple[str, str]:
    """The folder of a snapshot, and why it could not be downloaded; one of the two is empty.

    `repository` has the arguments of `huggingface_hub.snapshot_download`. The process ends at once with an exception in
    this one, such as that of a signal, and with this process.
    """
    child = subprocess.run(
        [sys.executable, "-P", "-m", __name__, json.dumps(repository)],
        stdout=subprocess.PIPE,  # the progress bars are on stderr
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if child.returncode:
        return "", f"its process ended with {child.returncode}"
    place, failure = json.loads(child.stdout.splitlines()[-1])
    return str(place), str(failure)


def transport_error() -> type[Exception]:
    """The error of the hub's client without a connection: version 1, which vLLM requires, uses httpx, 2 httpx2."""
    import huggingface_hub

    client = "httpx" if huggingface_hub.__version__.startswith("1.") else "httpx2"
    error: type[Exception] = import_module(client).TransportError
    return error


def _download() -> None:
    """Download what the command line names, and print the folder and the failure as JSON."""
    end_with_parent()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        print(json.dumps([str(snapshot_download(**json.loads(sys.argv[1]))), ""]))
    except (HfHubHTTPError, transport_error(), OSError) as error:
        print(json.dumps(["", describe(error)]))


if __name__ == "__main__":
    _download()

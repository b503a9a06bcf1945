"""What a cell of a ledger may read and reach. The ledger, and the folder around it, may come from elsewhere.

A command line of the user's own may do all that is refused here.
"""

import functools
import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from pathlib import Path

from cme.runtime import shipped
from experiments.config import identity
from experiments.config.components import option_settings
from experiments.config.runs import Run
from experiments.config.validation import BadConfig

ENDPOINTS = ("base_url", "url", "vllm_server_base_url")
"""The names of the fields with the address of a server."""
ADDRESS = re.compile(
    r"(?P<origin>https?://(?P<host>[\w.-]+|\[[\da-f:]+\])(:\d+)?)(/[\w./-]*)?", re.ASCII | re.I
)
REMEDY = "read the line that `pending` prints, and run it yourself if you trust it"


def check_overrides(overrides: Iterable[str]) -> None:
    """Raise BadConfig for an interpolation of anything but a field, which could read the environment."""
    for word in overrides:
        if "${" in re.sub(r"\$\{[\w.]+\}", "", word):
            raise BadConfig(f"{word} may read an environment variable; {REMEDY}")


def check_servers(run: Run, allowed_hosts: Collection[str] = ()) -> None:
    """Raise BadConfig for a server that would get a key, prompts or responses, unless it is known or allowed.

    Known are this machine, and the servers in `conf/judge/` with the variable of their key.
    """
    settings = identity.flatten(run.settings)
    for path, value in settings.items():
        group, _, name = path.rpartition(".")
        if name == "annotator" and ("/" in str(value) or Path(str(value)).exists()):
            raise BadConfig(
                f"{path}={value} is a folder, whose files decide which server gets OPENAI_API_KEY; {REMEDY}"
            )
        if name not in ENDPOINTS or value is None:
            continue
        if (match := ADDRESS.fullmatch(str(value))) is None:
            raise BadConfig(f"{path}={value!r}; it must have the form http://HOST:PORT/PATH")
        variable, host = settings.get(f"{group}.api_key_variable"), match["host"].lower()
        is_known = (variable, match["origin"].lower()) in _configured_servers() or _is_loopback(host)
        if not is_known and host not in (allowed.lower() for allowed in allowed_hosts):
            sent = f"the key in {variable}, prompts and responses" if variable else "prompts and responses"
            raise BadConfig(
                f"{path}={value} would get {sent}, and conf/ does not name it for that; add --allow-host {host} if "
                "you trust it"
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False


@functools.cache
def _configured_servers() -> set[tuple[str | None, str]]:
    """The variables with a key in `conf/judge/`, each with its server as `https://HOST`."""
    options = [option_settings("judge", file.stem) for file in (shipped.CONF / "judge").glob("*.yaml")]
    addresses = [
        (o["api_key_variable"], ADDRESS.fullmatch(o["base_url"])) for o in options if "base_url" in o
    ]
    return {(variable, address["origin"].lower()) for variable, address in addresses if address}

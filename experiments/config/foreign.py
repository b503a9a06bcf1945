"""What a cell of a ledger may use and reach. The ledger, and the folder around it, may come from elsewhere.

A command line of the user's own may do all that is refused here.
"""

import functools
import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

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


def check_cell(run: Run, allowed_hosts: Collection[str] = ()) -> None:
    """Raise BadConfig for a cell that names a function, a server or a judge's folder which a stranger may have made."""
    check_targets(run.values, run.trusted_packages)
    settings = identity.flatten(run.settings)
    for path, value in settings.items():
        group, _, name = path.rpartition(".")
        if name in ENDPOINTS and value is not None:
            _check_endpoint(path, str(value), settings.get(f"{group}.api_key_variable"), allowed_hosts)
        if name == "annotator" and ("/" in str(value) or Path(str(value)).exists()):
            raise BadConfig(
                f"{path}={value} is a folder, whose files decide which server gets OPENAI_API_KEY; {REMEDY}"
            )


def check_targets(values: Mapping[str, Any], trusted_packages: Collection[str] = ()) -> None:
    """Raise BadConfig for a `_target_` that no file in `conf/` names, unless it is in a trusted package."""
    for path, target in identity.flatten(dict(values)).items():
        if path.rpartition(".")[2] != "_target_" or target in _configured_targets():
            continue
        if str(target).partition(".")[0] not in trusted_packages:
            raise BadConfig(f"{path}={target}, which no file in conf/ names; {REMEDY}")


def _check_endpoint(path: str, address: str, variable: Any, allowed_hosts: Collection[str]) -> None:
    if (match := ADDRESS.fullmatch(address)) is None:
        raise BadConfig(f"{path}={address!r}; it must have the form http://HOST:PORT/PATH")
    host, known = match["host"].lower(), _configured_endpoints()
    to_known = match["origin"].lower() in (
        known.get(variable, ()) if variable else set().union(*known.values())
    )
    if to_known or _is_loopback(host) or host in (name.lower() for name in allowed_hosts):
        return
    sent = f"the key in {variable}, prompts and responses" if variable else "prompts and responses"
    raise BadConfig(
        f"{path}={address} would get {sent}, and conf/ does not name it for that; add --allow-host {host} if you "
        "trust it"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False


@functools.cache
def _configured_endpoints() -> dict[str, set[str]]:
    """The servers in `conf/judge/`, as `https://HOST`, by the variable with their key."""
    endpoints: dict[str, set[str]] = {}
    for file in (shipped.CONF / "judge").glob("*.yaml"):
        settings = option_settings("judge", file.stem)
        if (variable := settings.get("api_key_variable")) and (
            match := ADDRESS.fullmatch(settings["base_url"])
        ):
            endpoints.setdefault(variable, set()).add(match["origin"].lower())
    return endpoints


@functools.cache
def _configured_targets() -> frozenset[str]:
    """Every `_target_` in `conf/`."""
    texts = [file.read_text() for file in shipped.CONF.rglob("*.yaml")]
    return frozenset(target for text in texts for target in re.findall(r"_target_:\s*([\w.]+)", text))

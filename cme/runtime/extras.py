"""Optional dependencies: a missing one is reported in one sentence with the command that installs it."""

from importlib.util import find_spec

from cme import Unavailable


def require(package: str, extra: str, purpose: str) -> None:
    """Raise Unavailable if a package of an extra of this project is not installed.

    `purpose` is the setting that needs the package, such as `judge=openai`.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # a folder of that name, such as W&B's `wandb`, has no origin
        raise Unavailable(
            f"{purpose} needs the package {package}, which is not installed: {install_command(extra)}"
        )


def install_command(extra: str) -> str:
    """The command that installs an extra. It works in a checkout and for an installed wheel."""
    return f"pip install 'cme-harness[{extra}]'"

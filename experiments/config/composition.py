"""The command line as a grid of cells: composed and validated whole before the first job runs."""

import difflib
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme.runtime import shipped
from experiments.config import experiment_grids, schema
from experiments.config.groups import group_options
from experiments.config.runs import Run, resolve
from experiments.config.validation import BadConfig, NoSuchCell, suggestion, validate

CONF = shipped.CONF
SHOWS_ONLY = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
)


def compose_cells(arguments: list[str], generators: Sequence[str] = ()) -> list[Run]:
    """Every run that a command line asks for, composed, resolved and validated, each once.

    Raises BadConfig for the first bad one. `generators` made what is to be judged, where the runs do not: judges of
    their families are warned of. An empty list when the command line only asks Hydra to show something.
    """
    found = [run for line in expand_command_line(arguments) for run in _cells(line, generators)]
    return list({(run.experiment.run, run.run_id): run for run in found}.values())


def expand_command_line(arguments: list[str]) -> list[list[str]]:
    """The command lines that one with an experiment's own grids stands for. Raises BadConfig."""
    schema.register()
    return [arguments] if is_display_only(arguments) else experiment_grids.expand(arguments, str(CONF))


def is_display_only(arguments: list[str]) -> bool:
    """Whether a command line only asks Hydra to show something."""
    return any(a.split("=")[0] in SHOWS_ONLY for a in arguments)


def compose_one_line(arguments: list[str]) -> list[Run]:
    """The runs of a command line as it stands, without its experiment's own grids. See `compose_cells`."""
    return _cells(arguments, ())


def _cells(arguments: list[str], generators: Sequence[str]) -> list[Run]:
    if is_display_only(arguments):
        return []
    several = any(a in experiment_grids.MULTIRUN for a in arguments)
    overrides = [a for a in without_hydra_overrides(arguments) if not a.startswith("-")]
    try:
        parsed = [_parse(o) for o in overrides]
        for override in parsed:
            _check_group(override)
            if override.is_sweep_override() and not several:
                raise BadConfig(f"{override.input_line} names several values; add -m to sweep over them")
        choices = [_values(o) for o in parsed]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            found: list[Run] = []
            left_out = None
            for combination in itertools.product(*choices):
                config = _compose(list(combination))
                try:
                    run, warnings = _validated(config, combination, several, generators)
                except NoSuchCell as error:  # a plan is of the cells that there can be
                    if not config.plan:
                        raise
                    left_out = error
                    print(f"left out: {error}", file=sys.stderr)
                    continue
                for warning in warnings:
                    print(f"warning: {warning}", file=sys.stderr)
                found.append(run)
            if left_out is not None and not found:
                raise left_out
    except HydraException as error:
        raise BadConfig(str(error).splitlines()[0]) from error
    return found


def _validated(
    config: DictConfig, overrides: tuple[str, ...], several: bool, generators: Sequence[str]
) -> tuple[Run, list[str]]:
    try:
        run = resolve(config, overrides)
        return run, validate(run, generators)
    except BadConfig as error:
        raise type(error)(
            f"{error} (cell {' '.join(overrides)})" if several and overrides else error
        ) from error


def _parse(override: str) -> Override:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise BadConfig(f"{override} is not an override of the form key=value") from error


def _values(override: Override) -> list[str]:
    """The single-valued overrides that one override of a sweep stands for."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _check_group(override: Override) -> None:
    """Refuse an option that a config group does not have."""
    group = CONF / str(override.key_or_group)
    if not group.is_dir() or override.is_delete():
        return
    known = group_options(str(override.key_or_group))
    for value in [v.split("=", 1)[1] for v in _values(override)]:
        if value not in known:
            raise BadConfig(f"{override.key_or_group}={value} is unknown{suggestion(value, known)}")


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        culprit = next(
            (o for o in overrides if "=" in o and not _composes(overrides, o)),
            overrides[-1] if overrides else "",
        )
        raise BadConfig(_explain(culprit, overrides, error)) from error


def _composes(overrides: list[str], candidate: str) -> bool:
    groups = [o for o in overrides if (CONF / o.split("=")[0].lstrip("+~")).is_dir()]
    try:
        compose("config", overrides=[*groups, candidate] if candidate not in groups else groups)
    except (HydraException, OmegaConfBaseException):
        return False
    return True


def _explain(culprit: str, overrides: list[str], error: Exception) -> str:
    """One sentence on an override that Hydra refused."""
    key, _, value = culprit.partition("=")
    groups = [o for o in overrides if (CONF / o.split("=")[0]).is_dir()]
    base = compose("config", overrides=groups)
    fields = _fields(base)
    if key not in fields:
        near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; `python run.py --cfg job` prints all fields"
        return f"{key}={value}: there is no field {key}{hint}"
    node: Any = base
    for part in key.split("."):
        node = node._get_node(part)  # noqa: SLF001 - the typed node is not public, and knows the type it wants
    wanted = getattr(node._metadata.ref_type, "__name__", "another type")  # noqa: SLF001
    reason = f"it must be of type {wanted}" if wanted != "Any" else str(error).splitlines()[0]
    return f"{key}={value}: {reason}"


def _fields(config: DictConfig) -> list[str]:
    """Dotted paths of all nodes."""
    found: list[str] = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                found.append(f"{path}{key}")
                walk(child, f"{path}{key}.")

    walk(OmegaConf.to_container(config, resolve=False), "")
    return found


def without_hydra_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments without the overrides of Hydra itself, such as hydra/launcher=local."""
    return [a for a in arguments if not configures_hydra(a)]


def configures_hydra(argument: str) -> bool:
    """Whether an argument overrides the configuration of Hydra itself."""
    return argument.lstrip("+~").startswith(("hydra/", "hydra."))

"""From a command line to its runs: all are composed and validated before the first one starts."""

import difflib
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme.runtime import shipped
from experiments.config import experiment_grids, schema
from experiments.config.family_overlap import Party
from experiments.config.identity import flatten
from experiments.config.runs import Run, resolve
from experiments.config.validation import BadConfig, NoSuchCell, suggestion, validate

CONF = shipped.CONF
DISPLAY_OPTIONS = (
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
OPTIONAL_GROUPS = ("adapter", "capabilities", "comparators", "experiment")
"""Groups with the option `none`, which has no file."""


def compose_cells(
    arguments: list[str], parties: Sequence[Party] = (), data: Mapping[str, Any] | None = None
) -> list[Run]:
    """Every run of a command line, composed, resolved and validated, without duplicates.

    The list is empty for a command line that only displays something. Raises BadConfig.

    Args:
        arguments: The command line.
        parties: The models that made the responses, if the runs only judge them: a judge that is one of them, or of the
            family of one, gives a warning.
        data: The settings of the data of these responses, as in a record; by default those of the command line.
    """
    lines = expand_command_line(arguments)
    runs = [run for line in lines for run in compose_one_line(line, parties, data)]
    return list({(run.experiment.run, run.run_id): run for run in runs}.values())


def expand_command_line(arguments: list[str]) -> list[list[str]]:
    """One command line for each grid of the experiment. Raises BadConfig."""
    schema.register()
    return [arguments] if is_display_only(arguments) else experiment_grids.expand(arguments, str(CONF))


def is_display_only(arguments: list[str]) -> bool:
    """Whether a command line only asks Hydra to display something."""
    return any(a.split("=")[0] in DISPLAY_OPTIONS for a in arguments)


def group_options(group: str) -> list[str]:
    """The options of a config group, such as `trainer`."""
    files = [file.stem for file in (CONF / group).glob("*.yaml")]
    return sorted([*files, "none"] if group in OPTIONAL_GROUPS else files)


def compose_one_line(
    arguments: list[str], parties: Sequence[Party] = (), data: Mapping[str, Any] | None = None
) -> list[Run]:
    """The runs of a command line without the grids of its experiment. See `compose_cells`."""
    if is_display_only(arguments):
        return []
    multirun = any(a in experiment_grids.MULTIRUN for a in arguments)
    overrides = [a for a in without_hydra_overrides(arguments) if a not in experiment_grids.MULTIRUN]
    values = [_override_values(override, multirun) for override in overrides]
    runs: list[Run] = []
    missing = None
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for combination in itertools.product(*values):
            config = _compose(list(combination))
            if data is not None:
                config.data = OmegaConf.merge(config.data, data)
            try:
                run = resolve(config, combination)
                warnings = validate(run, parties)
            except BadConfig as error:
                if isinstance(error, NoSuchCell) and config.plan:  # the plan covers the others
                    print(f"left out: {error}", file=sys.stderr)
                    missing = error
                    continue
                where = f" (cell {' '.join(combination)})" if multirun and combination else ""
                raise type(error)(f"{error}{where}") from error
            runs.append(run)
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
    if missing is not None and not runs:
        raise missing
    return runs


def _override_values(text: str, multirun: bool) -> list[str]:
    """The single-valued overrides of one override, which may be a comma list. Raises BadConfig."""
    if text.startswith("-"):
        raise BadConfig(
            f"{text} is not an option; the options are -m, --help and those of Hydra that display something, such as "
            "--cfg job, and settings have the form key=value, such as plan=true, which runs nothing"
        )
    try:
        override: Override = OverridesParser.create().parse_override(text)
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else None
    except HydraException as error:
        raise BadConfig(f"{text} is not an override of the form key=value") from error
    singles = [text] if values is None else [f"{override.get_key_element()}={value}" for value in values]
    group = str(override.key_or_group)
    if (CONF / group).is_dir() and not override.is_delete():
        options = group_options(group)
        for value in (single.split("=", 1)[1] for single in singles):
            if value not in options:
                raise BadConfig(f"{group}={value} is unknown{suggestion(value, options)}")
    if values is not None and not multirun:
        raise BadConfig(f"{text} names several values; add -m to sweep over them")
    return singles


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        with suppress(HydraException):  # the groups alone may not compose
            raise BadConfig(_explain(overrides, error)) from error
        raise BadConfig(str(error).splitlines()[0]) from error


def _explain(overrides: list[str], error: Exception) -> str:
    """One sentence on the override that Hydra refused."""
    groups = [o for o in overrides if (CONF / o.split("=")[0].lstrip("+~")).is_dir()]

    def composes(override: str) -> bool:
        try:
            compose("config", overrides=[*groups, override] if override not in groups else groups)
        except (HydraException, OmegaConfBaseException):
            return False
        return True

    refused = [o for o in overrides if "=" in o and not composes(o)]
    key, _, value = (refused or overrides[-1:] or [""])[0].partition("=")
    base = compose("config", overrides=[o for o in groups if not o.startswith(("+", "~"))])
    node: Any = base
    for part in key.split("."):
        node = node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None  # noqa: SLF001
    if node is None:
        fields = flatten(OmegaConf.to_container(base, resolve=False))
        near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`python run.py --cfg job` prints all fields"
        return f"{key}={value}: there is no field {key}; {hint}"
    expected = getattr(node._metadata.ref_type, "__name__", "another type")  # noqa: SLF001
    return f"{key}={value}: " + (
        f"it must be of type {expected}" if expected != "Any" else str(error).splitlines()[0]
    )


def without_hydra_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments without the overrides of Hydra itself, such as hydra/launcher=local."""
    return [a for a in arguments if not configures_hydra(a)]


def configures_hydra(argument: str) -> bool:
    """Whether an argument overrides the configuration of Hydra itself."""
    group_and_packages = re.split("[@:]", argument.partition("=")[0].lstrip("+~"))
    return any(re.split("[/.]", place)[0] == "hydra" for place in group_and_packages)

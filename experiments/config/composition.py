"""From a command line to its runs: all are composed and validated before the first one starts."""

import copy
import difflib
import functools
import itertools
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ConfigTypeError, OmegaConfBaseException

from cme.runtime import shipped
from cme.runtime.terminal import plain
from experiments.config import registration
from experiments.config.family_overlap import Party
from experiments.config.identity import flatten
from experiments.config.registration import names_in, spell_out
from experiments.config.resolution import UNDELETABLE, resolve
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, NoSuchCell, suggestion, validate

CONF = shipped.CONF
MULTIRUN = ("-m", "--multirun")
OPTIONAL_GROUPS = ("adapter", "capabilities", "comparators", "experiment")
"""Groups with the option `none`, which has no file."""


def compose_cells(
    arguments: list[str], parties: Sequence[Party] = (), data: Mapping[str, Any] | None = None
) -> list[Run]:
    """Every run of a command line, composed, resolved and validated, without duplicates.

    Raises BadConfig.

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
    """One command line for each grid of the experiment; the command line itself without -m or without grids.

    `experiment.sweep` of a YAML in `conf/experiment/` lists grids by scale. A grid maps overrides to comma lists in the
    syntax of Hydra's command line; overrides on the command line replace those of the grid. Raises BadConfig for an
    experiment with grids but none at the scale.
    """
    registration.register()
    named = dict(a.split("=", 1) for a in arguments if "=" in a and not a.startswith("-"))
    name, scale = named.get("experiment"), named.get("scale")
    if name is None or "," in name or not any(a in MULTIRUN for a in arguments):
        return [arguments]
    parser = OverridesParser.create()
    try:
        groups = (f"experiment={name}", *([] if scale is None else [f"scale={scale}"]))
        config = _compose_groups(str(CONF), groups)
        keys = {str(parser.parse_override(a).key_or_group) for a in arguments if not a.startswith("-")}
    except HydraException:
        return [arguments]  # composing the run explains the error
    grids: Any = OmegaConf.to_container(config.experiment.sweep)
    scale = str(config.scale.name)
    if grids and scale not in grids:
        raise BadConfig(
            f"experiment={name} has no grid at scale={scale}; use scale={' or scale='.join(map(str, grids))}, or add "
            "a grid to its file in conf/experiment/"
        )
    return [
        [*arguments, *(f"{key}={value}" for key, value in grid.items() if key.lstrip("+") not in keys)]
        for grid in grids.get(scale, [{}])
    ]


def config_groups() -> dict[str, list[str]]:
    """The options of each group: the files of its folder in `conf/`, and the entries of its list, if it has one.

    Raises BadConfig for a name that is both.
    """
    groups = {d.name: [file.stem for file in d.glob("*.yaml")] for d in CONF.iterdir() if d.is_dir()}
    for group, listed in registration.LISTED.items():
        files, entries = groups.get(group, []), registration.load_entries(listed)
        if twice := sorted(entries.keys() & set(files)):
            raise BadConfig(f"{group}={twice[0]} is in conf/{listed} and in conf/{group}/; rename the file")
        groups[group] = [*files, *entries]
    for group in OPTIONAL_GROUPS:
        groups[group].append("none")
    return {group: sorted(options) for group, options in sorted(groups.items())}


def compose_one_line(
    arguments: list[str], parties: Sequence[Party] = (), data: Mapping[str, Any] | None = None
) -> list[Run]:
    """The runs of a command line without the grids of its experiment. See `compose_cells`."""
    multirun = any(a in MULTIRUN for a in arguments)
    overrides = [a for a in without_hydra_overrides(arguments) if a not in MULTIRUN]
    groups = config_groups()
    values = [_override_values(override, multirun, groups) for override in overrides]
    runs: list[Run] = []
    warned: dict[str, list[str]] = {}
    missing = None
    for combination in itertools.product(*values):
        config = _compose(combination, groups)
        try:
            if data is not None:
                config.data = OmegaConf.merge(config.data, data)
            run = resolve(config, combination)
            warnings = validate(run, parties)
        except OmegaConfBaseException as error:
            raise BadConfig(f"the settings of the data: {str(error).splitlines()[0]}") from error
        except BadConfig as error:
            if isinstance(error, NoSuchCell) and config.plan:  # the plan covers the others
                print(plain(f"left out: {error}"), file=sys.stderr)
                missing = error
                continue
            where = f" (cell {' '.join(combination)})" if multirun and combination else ""
            raise type(error)(f"{error}{where}") from error
        runs.append(run)
        for warning in warnings:
            warned.setdefault(warning, []).append(" ".join(combination))
    for warning, cells in warned.items():
        more = f" and {len(cells) - 1} more" if cells[1:] else ""
        where = f" (cell {cells[0]}{more})" if multirun and cells[0] else ""
        print(plain(f"warning: {warning}{where}"), file=sys.stderr)
    if missing is not None and not runs:
        raise missing
    return runs


def _override_values(text: str, multirun: bool, groups: Mapping[str, Sequence[str]]) -> list[str]:
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
        raise BadConfig(f"{text[:80]} is not an override of the form key=value") from error
    singles = [text] if values is None else [f"{override.get_key_element()}={value}" for value in values]
    group = str(override.key_or_group)
    if group in groups and not override.is_delete():
        options = [single.split("=", 1)[1] for single in singles]
        for option in options:
            for name in names_in(option) if group == "reward" else [option]:
                if name not in groups[group]:
                    raise BadConfig(f"{group}={name} is unknown{suggestion(name, groups[group])}")
    if values is not None and not multirun:
        raise BadConfig(f"{text} names several values; add -m to sweep over them")
    return singles


def _compose(overrides: Sequence[str], groups: Collection[str]) -> DictConfig:
    """The configuration of a cell. Raises BadConfig.

    Hydra composes the options of groups, then sets fields; so cells that differ in plain fields share the first part.
    """
    parser = OverridesParser.create()
    parsed = [parser.parse_override(text) for text in spell_out(overrides)]
    options = [o for o in parsed if "/" in o.key_or_group or o.key_or_group in groups]
    fields = [o for o in parsed if o.type == OverrideType.CHANGE and o not in options]
    if len(options) + len(fields) < len(parsed):
        fields = []  # a field is added or deleted, so the order of all counts
    try:
        config = copy.deepcopy(
            _compose_groups(str(CONF), tuple(o.input_line for o in parsed if o not in fields))
        )
    except (HydraException, OmegaConfBaseException) as error:
        first, *more = str(error).splitlines()
        reason = f"{first} {more[0]}" if first.endswith(":") else first
        if (word := reason.removeprefix("Error merging override ")).startswith("~"):
            reason = f"{word}: {UNDELETABLE}"
        raise BadConfig(reason) from error
    for override in fields:
        _set_field(config, override)
    return config


def _set_field(config: DictConfig, override: Override) -> None:
    """Set a field of a composed configuration. Raises BadConfig for a field or a value that does not exist."""
    key, text = str(override.key_or_group), override.input_line
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent, default="") if parent else config
    if node is None:
        remedy = "use adapter=lora" if parent == "trainer.lora" else "choose an option that sets it"
        raise BadConfig(f"{text}: {parent} is null and has no fields; {remedy}")
    try:
        OmegaConf.update(config, key, override.value())
    except (ConfigAttributeError, ConfigKeyError, ConfigTypeError) as error:
        known = flatten(OmegaConf.to_container(config, resolve=False))
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"`{shipped.RUN} --cfg job` prints all fields"
        raise BadConfig(f"{text}: there is no field {key}; {hint}") from error
    except OmegaConfBaseException as error:
        expected = getattr(node._get_node(name)._metadata.ref_type, "__name__", "Any")  # noqa: SLF001
        reason = str(error).splitlines()[0] if expected == "Any" else f"it must be of type {expected}"
        raise BadConfig(f"{text}: {reason}") from error


@functools.lru_cache(maxsize=64)
def _compose_groups(conf: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(conf, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def without_hydra_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments without the overrides of Hydra itself, such as hydra/launcher=local."""
    return [a for a in arguments if not configures_hydra(a)]


def configures_hydra(argument: str) -> bool:
    """Whether an argument overrides the configuration of Hydra itself."""
    group_and_packages = re.split("[@:]", argument.partition("=")[0].lstrip("+~"))
    return any(re.split("[/.]", place)[0] == "hydra" for place in group_and_packages)


def differing_words(cells: Collection[Sequence[str]]) -> list[str]:
    """For each cell, by its overrides, those that not all cells have, such as `family=qwen seed=1`."""
    shared = set.intersection(*map(set, cells)) if cells else set()
    return [" ".join(word for word in words if word not in shared) for words in cells]

"""The command line as a grid of cells: composed and validated whole before the first job runs."""

import difflib
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme import Unavailable
from cme.records import Preference, Prompt
from experiments import identity, launchers, schema, sweep
from experiments.store import Store, enrol
from experiments.validate import BadConfig, NoSuchCell, did_you_mean, validate

CONF = Path(__file__).resolve().parent.parent / "conf"
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


REPORTED = 1000  # runs at most in the report that a sweep ends with


@dataclass(frozen=True)
class Cell:
    """One cell: its configuration, and the words of a command line that ask for it alone."""

    overrides: list[str]
    config: DictConfig


def cells(arguments: list[str], generators: Sequence[str] = ()) -> list[DictConfig]:
    """The configurations of every cell that a command line asks for. See `asked`."""
    return [cell.config for cell in asked(arguments, generators)]


def asked(arguments: list[str], generators: Sequence[str] = ()) -> list[Cell]:
    """Every cell that a command line asks for, composed and validated, each once.

    Raises BadConfig for the first bad one. `generators` made what is to be judged, where the cells do not: judges
    that are kin to these are warned of.
    An empty list when the command line only asks Hydra to show something.
    """
    found = [cell for line in command_lines(arguments) for cell in _cells(line, generators)]
    return list({(c.config.experiment.run, identity.run_id(c.config)): c for c in found}.values())


def command_lines(arguments: list[str]) -> list[list[str]]:
    """The command lines that one with an experiment's own grids stands for. Raises BadConfig."""
    schema.register()
    return [arguments] if shows_only(arguments) else sweep.expanded(arguments, str(CONF))


def shows_only(arguments: list[str]) -> bool:
    """Whether a command line only asks Hydra to show something."""
    return any(a.split("=")[0] in SHOWS_ONLY for a in arguments)


def composed(arguments: list[str]) -> list[DictConfig]:
    """The configurations of a command line as it stands, without its experiment's own grids. See `asked`."""
    return [cell.config for cell in _cells(arguments, ())]


def _cells(arguments: list[str], generators: Sequence[str]) -> list[Cell]:
    if shows_only(arguments):
        return []
    several = any(a in sweep.MULTIRUN for a in arguments)
    overrides = [a for a in launchers.without_hydra(arguments) if not a.startswith("-")]
    try:
        parsed = [_parse(o) for o in overrides]
        for override in parsed:
            _check_group(override)
            if override.is_sweep_override() and not several:
                raise BadConfig(f"{override.input_line} names several values; add -m to sweep over them")
        choices = [_values(o) for o in parsed]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            found, left_out = [], None
            for combination in itertools.product(*choices):
                config = _compose(list(combination))
                try:
                    warnings = _validated(config, combination if several else (), generators)
                except NoSuchCell as error:  # a plan is of the cells that there can be
                    if not config.plan:
                        raise
                    left_out = error
                    print(f"left out: {error}", file=sys.stderr)
                    continue
                for warning in warnings:
                    print(f"warning: {warning}", file=sys.stderr)
                found.append(Cell(list(combination), config))
            if left_out is not None and not found:
                raise left_out
    except HydraException as error:
        raise BadConfig(str(error).splitlines()[0]) from error
    return found


def _validated(config: DictConfig, combination: tuple[str, ...], generators: Sequence[str]) -> list[str]:
    try:
        return validate(config, generators)
    except BadConfig as error:
        where = f" (cell {' '.join(combination)})" if combination else ""
        raise type(error)(f"{error}{where}") from error


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
    known = [p.stem for p in group.glob("*.yaml")]
    for value in [v.split("=", 1)[1] for v in _values(override)]:
        if value not in known:
            raise BadConfig(f"{override.key_or_group}={value} is unknown{did_you_mean(value, known)}")


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


def prepare(configs: list[DictConfig]) -> None:
    """Make everything loadable that the cells not yet done need, and try judges and trackers, before the first job.

    Raises Unavailable for weights and data that cannot be had and for judges and trackers that do not answer, with
    a line for each of them, and BadConfig for more prompts than there are.
    """
    from experiments import comparators, judging

    stores = [Store.of(c) for c in configs]
    owed = [c for c, store in zip(configs, stores, strict=True) if not store.record.exists()]
    further = [name for store in stores if store.record.exists() for name in comparators.lacking(store)]
    wanted = [*checkpoints(owed), *further]
    why = [
        *_complaints(
            lambda: judging.probe(c for c in configs if judging.networked(c) and not Store.of(c).done)
        ),
        *(_complaints(lambda: _probe_trackers(owed)) if owed else []),
        *(_complaints(lambda: _check_checkpoints(wanted)) if wanted else []),
        *_data_missing(owed),
    ]
    if why:
        raise Unavailable("\n".join(why))
    if owed:
        _check_parts(owed)
        make_loadable(owed)
    if further:
        from cme.checkpoints import ensure

        ensure(further)
    enrol(c for c in configs if c.experiment.run == schema.Experiment.run)


def _complaints(check: Callable[[], None]) -> list[str]:
    """What a check says is not to be had, nothing where it passes."""
    try:
        check()
    except Unavailable as error:
        return str(error).splitlines()
    return []


def _data_missing(configs: Sequence[DictConfig]) -> list[str]:
    """What the cells' data sources say they lack. See `cme.data` for the contract."""
    found = []
    for source in {str(c.data.source): c.data.source for c in configs}.values():
        lacking = getattr(import_module(source._target_.rpartition(".")[0]), "missing", None)
        if lacking is not None:
            given = cast("dict[str, Any]", OmegaConf.to_container(source, resolve=True))
            found += lacking(**{key: value for key, value in given.items() if key != "_target_"})
    return list(dict.fromkeys(found))


def _probe_trackers(configs: list[DictConfig]) -> None:
    from experiments import tracking

    tracking.probe(configs)


def _check_checkpoints(names: list[str]) -> None:
    from cme.checkpoints import check

    try:
        check(names)
    except ValueError as error:
        raise BadConfig(str(error)) from error


def _check_parts(configs: list[DictConfig]) -> None:
    """Check the selection prompts and the capability tasks of the cells that have any."""
    for config in configs:
        if config.selection.every is not None:
            from experiments import selection

            selection.prompts(config)
    if tasks := list(dict.fromkeys(task for config in configs for task in config.capabilities.tasks)):
        from cme.evaluation import capabilities

        try:
            capabilities.check(tasks)
        except ValueError as error:
            raise BadConfig(str(error)) from error


def make_loadable(configs: list[DictConfig]) -> None:
    """Make everything loadable that the cells need. Raises as `prepare` does."""
    if not configs:
        return
    from cme.checkpoints import ensure

    _check_checkpoints(checkpoints(configs))
    for data in {str(c.data): c.data for c in configs}.values():
        prompts(data, data.train_split, data.train_prompts)
        prompts(data, data.eval_split, data.eval_prompts)
    for config in configs:
        if config.trainer.method == "dpo":
            preferences(config)
    ensure(checkpoints(configs))


def prompts(data: DictConfig, split: str, count: int) -> list[Prompt]:
    """Prompts of a split. Raises Unavailable for data that cannot be had, BadConfig for more than there are."""
    try:
        return cast("list[Prompt]", instantiate(data.source, split=split, count=count, seed=data.seed))
    except InstantiationException as error:
        if isinstance(error.__cause__, Unavailable):
            raise error.__cause__ from None
        raise BadConfig(f"data={data.name}: {error.__cause__}") from error


def preferences(config: DictConfig) -> list[Preference]:
    """The preference pairs of a cell's training prompts.

    Raises Unavailable for data that cannot be had, BadConfig for prompts that have no pairs.
    """
    data = config.data
    load_pairs = instantiate(config.trainer.pairs, _partial_=True)
    try:
        found = load_pairs(prompts=prompts(data, data.train_split, data.train_prompts), seed=data.seed)
    except ValueError as error:
        raise BadConfig(f"trainer.pairs with data={data.name}: {error}") from error
    return cast("list[Preference]", found)


def report(configs: list[DictConfig]) -> None:
    """Print each cell's win rate and write one report over all of them, if there are any, with their judges' sanity.

    A report holds all its records in memory: beyond so many runs it is left to `python -m analysis`.
    """
    from analysis import build, summarize
    from cme.records import read_record, read_sanity

    paths = [path for c in configs if (path := Store.of(c).record).exists()]
    if len(paths) > REPORTED:
        print(f"{len(paths)} runs are done: python -m analysis {configs[0].results_dir}")
        return
    shown = set()
    for path in paths:
        record = read_record(path)
        print(summarize([record]))
        shown.add((record.scale, record.judge))
    if paths:
        root = Path(configs[0].results_dir)
        out = (
            paths[0].parent
            if len(paths) == 1
            else root / f"report-{identity.digest([str(p) for p in paths])}"
        )
        checks = {path: read_sanity(path) for path in sorted(root.glob("sanity-*/sanity.json"))}
        paths += [path for path, check in checks.items() if (check.scale, check.judge) in shown]
        print(f"report: {build([p.parent for p in paths], out)}")


def checkpoints(configs: list[DictConfig]) -> list[str]:
    """Names of the checkpoints that the cells load, each once."""
    from experiments import judging

    wanted: list[str] = []
    for config in configs:
        held = identity.heldout(config)
        judges = [config.judge, *([] if config.selection.every is None else [config.selection.judge])]
        asked = [node.get("checkpoint") for judge in judges for node in judging.judges(judge).values()]
        used = [config.generator, *([held] if held else []), *(name for name in asked if name)]
        wanted += [*identity.verifiers(config), *used, *identity.comparators(config).values()]
    return list(dict.fromkeys(wanted))

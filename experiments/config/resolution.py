"""From a composed configuration to a run: its names exist, its interpolations resolve, its targets are trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from cme.records import find_unwritable
from cme.runtime import shipped
from cme.runtime.files import check_name
from experiments.config import identity
from experiments.config.components import Component, configured_targets, is_component, locate
from experiments.config.runs import Run
from experiments.config.schema import REGIMES
from experiments.config.trainers import TRAINERS
from experiments.config.validation import BadConfig, NoSuchCell, as_bad_config

NAMED = ("reward", "judge", "selection.judge")
"""Components that are options of a group, whose `name` is not an argument."""
OPTIONAL = ("data.oracle", "data.blind_spots", "data.pairs", "trainer.pairs")
"""Components that may be null."""
UNDELETABLE = "a field of the configuration cannot be deleted; leave this out"


def resolve(config: DictConfig, overrides: Sequence[str] = ()) -> Run:
    """Resolve a composed configuration. Raises BadConfig for a name that does not exist or cannot be imported."""
    _check_declared(config)
    _check_existence(config)
    typed: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key in map(str, config):
        try:
            if key == "reward" and key in TRAINERS[config.trainer.method].UNUSED:
                typed[key] = {"name": config.reward.name}
                continue
            node = config[key]
            if OmegaConf.is_config(node):
                OmegaConf.resolve(node)  # once: each conversion would parse every interpolation again
                values[key], typed[key] = OmegaConf.to_container(node), OmegaConf.to_object(node)
            else:
                values[key] = typed[key] = node
        except OmegaConfBaseException as error:
            raise BadConfig(f"{key}: {str(error).splitlines()[0]}") from error
    _check_names(values)
    _check_targets(values)
    if problem := find_unwritable(values):
        raise BadConfig(problem)
    run = Run(**typed, values=values, overrides=list(overrides))
    _make_components(run)
    run.run_id = identity.run_id(run)
    return run


def _make_components(node: Any, path: str = "") -> None:
    """Replace the mappings that name a target by components, in a group and the groups in it."""
    for name, value in list(vars(node).items()):
        here = f"{path}{name}"
        if (here in NAMED and isinstance(value, Mapping)) or is_component(value):
            setattr(node, name, Component.from_node(value, named=here in NAMED))
        elif is_dataclass(value):
            _make_components(value, f"{here}.")
        elif here in (*NAMED, "data.source") or (here in OPTIONAL and value is not None):
            raise BadConfig(f"{here}={value}; it must have a _target_, as in the files of conf/")


def _check_declared(config: DictConfig, path: str = "") -> None:
    """Refuse fields that are not in the schema, added with +, and fields of it that are missing, deleted with ~."""
    schema: Any = OmegaConf.get_type(config)
    known = {one.name for one in fields(schema)}
    if deleted := sorted(known - set(map(str, config))):
        raise BadConfig(f"~{path}{deleted[0]}: {UNDELETABLE}")
    for key in map(str, config):
        if key not in known:
            raise BadConfig(
                f"{path}{key} is not a field of the configuration; `{shipped.RUN} --help` lists all fields"
            )
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        node = config[key]
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)):
            _check_declared(node, f"{path}{key}.")


def _check_existence(config: DictConfig) -> None:
    """Check that the interpolations of a composed configuration resolve.

    Raises BadConfig, and NoSuchCell for a family without a checkpoint of the regime at the scale.
    """
    scale, family, regime = config.scale.name, config.family.name, config.regime
    if regime not in REGIMES:
        raise BadConfig(f"regime={regime} is unknown; it must be one of {', '.join(REGIMES)}")
    checkpoints = config.family.checkpoints.get(scale) or {}
    if regime not in checkpoints:
        scales = f"its scales are {', '.join(config.family.checkpoints)}"
        known = f"it has {', '.join(checkpoints)}" if checkpoints else scales
        raise NoSuchCell(f"regime={regime} does not exist for family={family} at scale={scale}: {known}")
    try:
        _ = config.verifier.checkpoint
    except OmegaConfBaseException:
        raise BadConfig(
            f"verifier={config.verifier.name} does not exist at scale={scale} for family={family}; "
            f"it has a checkpoint for {', '.join(config.verifier.checkpoints)}"
        ) from None
    for name in config.evaluation.comparators:
        try:
            _ = config.evaluation.comparators[name]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0].removeprefix("Interpolation key ")
            raise BadConfig(
                f"evaluation.comparators.{name} does not exist for family={family} at scale={scale}: {reason}; use "
                f"comparators=none, or name a checkpoint with evaluation.comparators.{name}=..."
            ) from None
    source = config.data.source
    if config.data.name == "file" and OmegaConf.is_dict(source) and source.get("path") is None:
        raise BadConfig("data=file needs the file of your prompts: set data.path=FILE (docs/experiments.md)")
    _check_trainer(config)


def _check_trainer(config: DictConfig) -> None:
    """Check that the trainer is one of TRAINERS with the pairs and the sizes that it needs."""
    scale, family, method = config.scale.name, config.family.name, config.trainer.method
    if TRAINERS.get(method) is not OmegaConf.get_type(config.trainer):
        raise BadConfig(
            f"trainer.method={method} cannot be set alone; use trainer={' or trainer='.join(TRAINERS)}"
        )
    if method == "dpo" and config.trainer.pairs is None:
        raise BadConfig(
            f"trainer=dpo needs preference pairs, and data={config.data.name} has none; use data with pairs, such as "
            "data=world or data=ultrafeedback, or another trainer"
        )
    try:
        missing = sorted(OmegaConf.missing_keys(config.trainer))
    except InterpolationKeyError as error:
        field = str(error).split("'")[1]
        raise BadConfig(
            f"trainer={method} has no sizes for family={family} regime={config.regime} at scale={scale}: set {field} "
            f"in conf/family/{family}.yaml"
        ) from None
    if missing:
        raise BadConfig(f"trainer={method} has no sizes at scale={scale}: set {', '.join(missing)}")


def _check_names(values: Mapping[str, Any]) -> None:
    """Check the folder of the results, and the names that become part of file names in it. Raises BadConfig."""
    for path, name in identity.flatten(dict(values)).items():
        if path.endswith(".name") and name is not None:
            with as_bad_config():
                check_name(path, str(name))
    if not values["results_dir"].strip():
        raise BadConfig("results_dir is empty; it must be a folder, such as results_dir=results/runs")


def _check_targets(values: Mapping[str, Any]) -> None:
    """Refuse every `_target_`, also nested ones, unless a file in `conf/` names it in `cme`, or its package is trusted.

    The name is checked before it is imported. `experiment.run` must be in `experiments` or in a trusted package, and is
    imported when it runs. Raises BadConfig.
    """
    trusted, named = values["trusted_packages"], configured_targets(shipped.CONF)
    targets = {p: str(v) for p, v in identity.flatten(values).items() if p.rpartition(".")[2] == "_target_"}
    for path, target in {**targets, "experiment.run": values["experiment"]["run"]}.items():
        home = "cme" if path in targets else "experiments"
        package = target.partition(".")[0]
        remedy = f"; if you trust it, add trusted_packages=[{package}]"
        if package not in (home, *trusted):
            raise BadConfig(f"{path}={target} is not in {home}{remedy}")
        if path not in targets:
            continue
        if target not in named and package not in trusted:
            raise BadConfig(f"{path}={target}, which no file in conf/ names{remedy}")
        try:
            locate(target)
        except ImportError as error:
            raise BadConfig(f"{path}={target} cannot be imported: {str(error).splitlines()[0]}") from error

"""A run: the composed configuration, resolved once, and its id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme.records import Oracle
from experiments.config import identity
from experiments.config.components import Component, is_component
from experiments.config.schema import Config
from experiments.config.trainers import TRAINERS
from experiments.config.validation import UNDELETABLE, BadConfig, check_existence, check_names, check_targets

NAMED = ("reward", "judge", "selection.judge")
"""Components that are options of a group, whose `name` is not an argument."""
OPTIONAL = ("data.oracle", "data.blind_spots", "data.pairs", "trainer.pairs")
"""Components that may be null."""


@dataclass(kw_only=True)
class Run(Config):
    """A run: every field of the schema as an attribute.

    Attributes:
        values: the fields as plain mappings, as in the record.
        overrides: the overrides of a command line that compose this run alone.
    """

    values: dict[str, Any]
    overrides: list[str] = field(default_factory=list)

    @cached_property
    def run_id(self) -> str:
        """The name of the run and of its folder. See `experiments.config.identity`."""
        return identity.run_id(self)

    @cached_property
    def classified(self) -> list[identity.Classified]:
        """The settings with the first stage that each changes, from which all ids are made."""
        return identity.classify(self)

    def load_oracle(self) -> Oracle | None:
        """The function that grades a response; None if the true quality is unknown."""
        return None if self.data.oracle is None else self.data.oracle.instantiate()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration as the record keeps it."""
        return identity.settings(self)


def resolve(config: DictConfig, overrides: Sequence[str] = ()) -> Run:
    """Resolve a composed configuration. Raises BadConfig for a name that does not exist or cannot be imported."""
    _check_declared(config)
    check_existence(config)
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
    check_names(values)
    check_targets(values)
    run = Run(**typed, values=values, overrides=list(overrides))
    _make_components(run)
    return run


def _make_components(node: Any, path: str = "") -> None:
    """Replace the mappings that name a target by components, in a group and the groups in it."""
    for one in fields(node):
        value, here = getattr(node, one.name), f"{path}{one.name}"
        if (here in NAMED and isinstance(value, Mapping)) or is_component(value):
            setattr(node, one.name, Component.of(value, named=here in NAMED))
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
                f"{path}{key} is not a field of the configuration; `python run.py --help` lists all fields"
            )
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        node = config[key]
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)):
            _check_declared(node, f"{path}{key}.")

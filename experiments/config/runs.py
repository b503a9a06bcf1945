"""One run of an experiment: the composed configuration, resolved once, with what identifies it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config import identity
from experiments.config.components import Component
from experiments.config.schema import TRAINERS, Config
from experiments.config.validation import BadConfig, check_existence, check_targets


@dataclass(kw_only=True)
class Run(Config):
    """One run: every field of the schema by attribute.

    Attributes:
        values: the same as plain mappings, as the record keeps them.
        overrides: the words of a command line that ask for this run alone.
    """

    values: dict[str, Any]
    overrides: list[str] = field(default_factory=list)

    @cached_property
    def run_id(self) -> str:
        """What names the run and its folder. See `experiments.config.identity`."""
        return identity.run_id(self)

    def load_oracle(self) -> Callable[[str, str, bool], float] | None:
        """What knows the true quality (0 to 1) of (prompt, response, finished); None where nobody does."""
        return None if self.data.oracle is None else self.data.oracle.instantiate()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the record keeps of the configuration."""
        return identity.settings(self)


def resolve(config: DictConfig, overrides: Sequence[str] = ()) -> Run:
    """Resolve a composed configuration. Raises BadConfig where it names what does not exist or cannot be imported."""
    _check_declared(config)
    check_existence(config)
    typed: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key in map(str, config):
        try:
            if key == "reward" and key in TRAINERS[config.trainer.method].UNUSED:
                typed[key] = Component(str(config.reward.name), "", {})
                continue
            node = config[key]
            values[key] = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            typed[key] = OmegaConf.to_object(node) if OmegaConf.is_config(node) else node
        except OmegaConfBaseException as error:
            raise BadConfig(f"{key}: {str(error).splitlines()[0]}") from error
    check_targets(values)
    run = Run(**typed, values=values, overrides=list(overrides))
    run.reward = _component(run.reward)
    run.judge = _component(run.judge)
    run.selection.judge = _component(run.selection.judge)
    run.data.source = _component(run.data.source, named=False)
    run.data.oracle = None if run.data.oracle is None else _component(run.data.oracle, named=False)
    if run.trainer.method == "dpo":
        run.trainer.pairs = None if run.trainer.pairs is None else _component(run.trainer.pairs, named=False)
    return run


def _check_declared(config: DictConfig, path: str = "") -> None:
    """Refuse fields, added with +, that the schema does not have."""
    schema: Any = OmegaConf.get_type(config)
    known = {one.name for one in fields(schema)}
    for key in map(str, config):
        if key not in known:
            raise BadConfig(
                f"{path}{key} is no field of the configuration; `python run.py --help` lists them"
            )
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        node = config[key]
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)):
            _check_declared(node, f"{path}{key}.")


def _component(node: Any, named: bool = True) -> Component:
    return node if isinstance(node, Component) else Component.of(node, named)

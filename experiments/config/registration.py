"""What Hydra lacks: the schema, the options that no file of `conf/` declares, interpolations, and sums of rewards."""

import functools
from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from cme.runtime import shipped
from cme.runtime.secrets import SECRET_NAME
from experiments.config.schema import WEIGHTED_SUM, Config
from experiments.config.trainers import TRAINERS
from experiments.config.validation import BadConfig

LISTED = {"verifier": "verifiers.yaml", "preset": "presets.yaml", "capabilities": "capabilities.yaml"}
"""Groups whose options are the entries of one file of `conf/`."""


@functools.cache
def register() -> None:
    """Store in Hydra's ConfigStore: the schema, those of the trainers, a sum of rewards, and the entries of lists.

    Also adds the interpolation `${max:A,B}`, the larger of two numbers, and refuses secrets in `${oc.env:NAME}`.
    """
    OmegaConf.register_new_resolver("max", max)
    OmegaConf.register_new_resolver("oc.env", _environment_variable, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for method, node in TRAINERS.items():
        store.store(group="trainer/schema", name=method, node=node)
    store.store(group="reward", name=str(WEIGHTED_SUM["name"]), node=WEIGHTED_SUM)
    for name, settings in load_entries(LISTED["verifier"]).items():
        store.store(group="verifier", name=name, node={"name": name, **settings})
    for name, settings in load_entries(LISTED["preset"]).items():
        store.store(
            group="preset", name=name, node={"preset": {"name": name}, **settings}, package="_global_"
        )
    for name, settings in load_entries(LISTED["capabilities"]).items():
        store.store(group="capabilities", name=name, node=settings)
    for reward, settings in load_entries("sources.yaml").items():
        store.store(group="source", name=f"grpo_paper_{reward}", node=settings, package="_global_")
    for method, scales in load_entries("trainer_sizes.yaml").items():
        for scale, sizes in scales.items():
            store.store(group="trainer/sizes", name=f"{method}_{scale}", node=sizes)


@functools.cache
def load_entries(file: str) -> dict[str, Any]:
    """The entries of a file of `conf/`, such as `verifiers.yaml`, by name."""
    entries: Any = OmegaConf.to_container(OmegaConf.load(shipped.CONF / file))
    return dict(entries)


def _environment_variable(name: str, *default: Any) -> Any:
    """The value of an environment variable. Raises ValueError for a secret: records keep the resolved configuration."""
    if SECRET_NAME.search(name):
        raise ValueError(
            f"{name} is a secret by its name, and a record would show it; name it in api_key_variable where a key is "
            "needed"
        )
    return oc.env(name, *default)


def names_in(option: str) -> list[str]:
    """The names in the value of `reward=`: those of a list such as `[cme,length]`, or one."""
    is_list = option.startswith("[") and option.endswith("]")
    return [name.strip() for name in option[1:-1].split(",")] if is_list else [option]


def spell_out(overrides: Sequence[str]) -> list[str]:
    """The overrides of one cell, with `reward=[cme,length] reward.weights=[1,0.1]` as Hydra composes them.

    Hydra would merge several options of a group into one. Here they become the members of a `cme.rewards.WeightedSum`,
    as in conf/reward/cme_length.yaml. Its name joins theirs, as in `cme+length`; weights are 1 unless given. Options
    such as --cfg, and comma lists, stay as they are. Raises BadConfig for a list that makes no sum.
    """
    given = dict(filter(None, map(_key_and_value, overrides)))
    names, weights = given.get("reward"), given.get("reward.weights")
    if not isinstance(names, list):
        if isinstance(weights, list):
            raise BadConfig(
                f"reward.weights={weights} needs the rewards in the same order, as in reward=[cme,length]; the weights "
                "of a sum from a file have names, as in reward.weights.length=0.1"
            )
        return list(overrides)
    written = f"reward=[{','.join(map(str, names))}]"
    if len(names) < 2 or len(set(map(str, names))) < len(names):
        raise BadConfig(f"{written}; a sum has at least two rewards, each once")
    if not isinstance(weights, list):
        weights = [1.0] * len(names)
    if len(weights) != len(names) or not all(type(weight) in (int, float) for weight in weights):
        raise BadConfig(f"reward.weights={weights} with {written}; give one number for each reward")
    by_name = ", ".join(f"{name}: {float(weight)!r}" for name, weight in zip(names, weights, strict=True))
    return [
        f"reward={WEIGHTED_SUM['name']}",
        *(f"+reward@reward.members.{name}={name}" for name in names),
        f"reward.name={'+'.join(names)}",
        f"reward.weights={{{by_name}}}",
        *(text for text in overrides if not text.startswith(("reward=", "reward.weights=["))),
    ]


def _key_and_value(text: str) -> tuple[str, Any] | None:
    """The group or field that an override changes, and its value; None for options, deletions and comma lists."""
    if text.startswith(("-", "~")) or "=" not in text:  # also the value of an option, as in `--cfg job`
        return None
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:  # composing the run explains the error
        return None
    is_single = override.type == OverrideType.CHANGE and not override.is_sweep_override()
    return (str(override.key_or_group), override.value()) if is_single else None

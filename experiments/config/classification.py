"""Which settings of a run change its results, and from which stage on.

The schema declares which fields change results, and at which values a newer field does not count. The attribute
`NEUTRAL` of a reward or judge class declares which of its arguments do not change results. A `_target_` does not count
if it is in `cme` and is that of the YAML file in `conf/` which the configuration names, since the name counts already;
so code may move without changing ids.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from experiments.config.components import (
    Component,
    evaluation_arguments,
    is_component,
    is_neutral_argument,
    option_settings,
)
from experiments.config.schema import WEIGHTED_SUM, Config
from experiments.config.settings import Stage, declaration, group_of

Classified = tuple[str, Any, Stage | None]
"""Dotted path and value of a setting, and the first stage that it changes; None if it changes no result."""


def classify(settings: Mapping[str, Any], values: Mapping[str, Any], trainer: type) -> list[Classified]:
    """The settings of a run, which are those of its values that it uses, each with the first stage that it changes.

    `trainer` is the schema of the trainer's settings.
    """
    return list(_classify(settings, _named_options(values), Config, trainer))


def classify_judge(judge: Component) -> list[Classified]:
    """The settings of a judge, by their paths below `judge`."""
    named = OmegaConf.create({"judge": option_settings("judge", judge.name)})
    return list(_classify_component(judge.settings, "judge", named, "evaluation"))


def _classify(
    values: Mapping[str, Any], named: DictConfig, schema: type, trainer: type, path: str = ""
) -> Iterator[Classified]:
    declared = {one.name: one for one in fields(schema)}
    for key, value in values.items():
        one, here = declared[key], f"{path}{key}"
        setting = declaration(one)
        stage = setting.stage if setting else "training"
        group = trainer if here == "trainer" else group_of(one)
        if setting is not None and setting.is_neutral(value):
            yield here, value, None
        elif group is not None and isinstance(value, Mapping):
            yield from _classify(value, named, group, trainer, f"{here}.")
        elif is_component(value):
            yield from _classify_component(value, here, named, stage)
        else:
            yield here, value, stage


def _classify_component(
    node: Mapping[str, Any], path: str, named: DictConfig, stage: Stage
) -> Iterator[Classified]:
    target = str(node.get("_target_") or "")
    try:
        expected = OmegaConf.select(named, f"{path}._target_")
    except InterpolationKeyError:  # the target counts where the interpolation points
        expected = target
    is_named = target.startswith("cme.") and target == expected
    for key, value in node.items():
        if key == "members":
            for name, member in value.items():
                yield from _classify_component(member, f"{path}.members.{name}", named, stage)
        elif is_component(value):
            yield from _classify_component(value, f"{path}.{key}", named, stage)
        elif path == "data.source" and key in evaluation_arguments(target):
            yield f"{path}.{key}", value, "responses"
        else:
            is_neutral = is_named if key == "_target_" else is_neutral_argument(target, key, value)
            yield f"{path}.{key}", value, None if is_neutral else stage


def _named_options(values: Mapping[str, Any]) -> DictConfig:
    """The components of a configuration as the YAML files of their names define them."""

    def option(group: str, node: Mapping[str, Any] | None) -> dict[str, Any]:
        node = node or {}
        named = option_settings(group, str(node.get("name")))
        if group == "reward" and node.get("members"):
            named = named or {"_target_": WEIGHTED_SUM["_target_"]}
        if group == "reward" and node.get("judge") is not None:
            named = named | {"judge": option("judge", node["judge"])}
        members = node.get("members") or {}
        return {**named, "members": {key: option(group, member) for key, member in members.items()}}

    return OmegaConf.create(
        {
            **{group: option(group, values.get(group)) for group in ("data", "reward", "judge")},
            "selection": {"judge": option("judge", values["selection"]["judge"])},
            "trainer": {"pairs": "${data.pairs}"},
        }
    )

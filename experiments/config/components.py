"""Objects that the configuration names by `_target_`: rewards, judges, prompt sources, oracles."""

import functools
import pydoc
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf

from cme.judges.base import Judge
from cme.rewards.base import Reward
from cme.runtime import shipped
from cme.runtime.errors import in_part


@dataclass(frozen=True)
class Component:
    """A callable, by its dotted path, and its arguments.

    Attributes:
        name: Option of the config group; empty where the group has no named options.
        target: Dotted path; empty for a panel of judges, which has `members` instead. A sum of rewards has both.
    """

    name: str
    target: str
    arguments: dict[str, Any]
    members: dict[str, "Component"] = field(default_factory=dict)

    @classmethod
    def from_node(cls, node: Mapping[str, Any], named: bool = True) -> "Component":
        """The component of a resolved node. If it is `named`, its field `name` is not an argument."""
        skipped = ("_target_", "members", *(["name"] if named else []))
        return cls(
            name=str(node.get("name") or "") if named else "",
            target=str(node.get("_target_") or ""),
            arguments={str(key): value for key, value in node.items() if key not in skipped},
            members={
                str(name): cls.from_node(member) for name, member in (node.get("members") or {}).items()
            },
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The node as it is in the configuration and in the record."""
        named = {"name": self.name} if self.name else {}
        target = {"_target_": self.target} if self.target else {}
        members = {name: member.settings for name, member in self.members.items()}
        return named | target | self.arguments | ({"members": members} if members else {})

    def load_target(self) -> Callable[..., Any]:
        """Import the target. Raises ImportError."""
        return locate(self.target)

    def instantiate(self, **more: Any) -> Any:
        """Call the target with the arguments and `more`, after instantiating members and nested components."""
        arguments = {
            name: Component.from_node(value, named="name" in value).instantiate()
            if is_component(value)
            else value
            for name, value in self.arguments.items()
        } | more
        if self.members:
            arguments["members"] = {name: member.instantiate() for name, member in self.members.items()}
        partial = arguments.pop("_partial_", False)
        target = self.load_target()
        if partial:
            return functools.partial(target, **arguments)
        with in_part(self.target, target):
            return target(**arguments)


@functools.cache
def locate(target: str) -> Callable[..., Any]:
    """Import a callable by its dotted path. Raises ImportError."""
    try:
        located = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise ImportError(str(error).splitlines()[0]) from error
    if not callable(located):
        raise ImportError(f"there is no callable {target}")
    return located


def is_component(node: Any) -> bool:
    """Whether a value of the resolved configuration is a component."""
    return isinstance(node, Mapping) and ("_target_" in node or "members" in node)


def type_name(annotation: Any) -> str:
    """A type in words, such as `mean | min` and `float | None`."""
    if isinstance(annotation, type):
        return annotation.__name__
    if get_origin(annotation) in (Literal, Union, UnionType):
        return " | ".join(type_name(option) for option in get_args(annotation)).replace("NoneType", "None")
    return re.sub(r"typing\.|collections\.abc\.", "", str(annotation))


def is_neutral_argument(target: str, name: str, value: Any) -> bool:
    """Whether an argument of a reward or judge changes no result, or none at this value, as its class declares."""
    declared = locate(target) if target else None
    if not (isinstance(declared, type) and issubclass(declared, Reward | Judge)):
        return False
    values = declared.NEUTRAL_VALUES
    return name in declared.NEUTRAL or (name in values and value == values[name])


def evaluation_arguments(target: str) -> frozenset[str]:
    """The arguments of a prompt source that change its evaluation prompts alone: EVALUATION_ARGUMENTS of its module."""
    module = pydoc.locate(target.rpartition(".")[0])
    return cast("frozenset[str]", vars(module).get("EVALUATION_ARGUMENTS", frozenset()))


@functools.cache
def option_settings(group: str, name: str) -> dict[str, Any]:
    """An option of a config group as its YAML file and the files in its defaults list define it.

    Interpolations are not resolved. Empty if there is no such file.
    """
    file = shipped.CONF / group / f"{name}.yaml"
    settings = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    assert isinstance(settings, DictConfig)
    parents = [option_settings(group, str(parent)) for parent in settings.pop("defaults", [])]
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.merge(*parents, settings)))


@functools.cache
def configured_targets(conf: Path) -> frozenset[str]:
    """Every `_target_` in the files of a folder such as `conf/`."""
    texts = [file.read_text() for file in conf.rglob("*.yaml")]
    return frozenset(target for text in texts for target in re.findall(r"_target_:\s*([\w.]+)", text))

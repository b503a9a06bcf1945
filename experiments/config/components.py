"""Objects that the configuration names by `_target_`: rewards, judges, prompt sources, oracles."""

import functools
import pydoc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """What makes one object: a callable by its dotted path, and its arguments.

    `name` is the option of the config group, empty where the group has none. A panel of judges has no target, but
    `members`.
    """

    name: str
    target: str
    arguments: dict[str, Any]
    members: dict[str, "Component"] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Mapping[str, Any], named: bool = True) -> "Component":
        """The component of a resolved node. Where it is `named`, its field `name` is no argument."""
        skipped = ("_target_", "members", *(["name"] if named else []))
        return cls(
            name=str(node.get("name") or "") if named else "",
            target=str(node.get("_target_") or ""),
            arguments={str(key): value for key, value in node.items() if key not in skipped},
            members={str(name): cls.of(member) for name, member in (node.get("members") or {}).items()},
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The node as the configuration and the record have it."""
        named = {"name": self.name} if self.name else {}
        target = {"_target_": self.target} if self.target else {}
        members = {name: member.settings for name, member in self.members.items()}
        return named | target | self.arguments | ({"members": members} if members else {})

    def load_target(self) -> Callable[..., Any]:
        """The target, imported. Raises ImportError."""
        return locate(self.target)

    def instantiate(self, **more: Any) -> Any:
        """Call the target with the arguments and `more`; nested components are made first."""
        given = {name: _built(value) for name, value in self.arguments.items()} | more
        partial = given.pop("_partial_", False)
        return functools.partial(self.load_target(), **given) if partial else self.load_target()(**given)


def locate(target: str) -> Callable[..., Any]:
    """Import a callable by its dotted path. Raises ImportError."""
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise ImportError(str(error).splitlines()[0]) from error
    if not callable(found):
        raise ImportError(f"there is no callable {target}")
    return found


def is_component(node: Any) -> bool:
    """Whether a value of the resolved configuration is a component."""
    return isinstance(node, Mapping) and ("_target_" in node or "members" in node)


def neutral_arguments(target: str) -> frozenset[str]:
    """The arguments of a reward or judge that do not change results, which its class declares as `NEUTRAL`."""
    return getattr(locate(target), "NEUTRAL", frozenset()) if target else frozenset()


def _built(value: Any) -> Any:
    if is_component(value):
        return Component.of(value, named=False).instantiate()
    return value

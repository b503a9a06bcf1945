"""How a field of the configuration is declared: default, help, bounds, choices, and the first stage that it changes."""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from omegaconf import MISSING

if TYPE_CHECKING:
    from experiments.config.components import Component as Component
else:
    Component = Any  # a mapping in OmegaConf; `experiments.config.runs.resolve` makes it a Component

Stage = Literal["training", "responses", "evaluation"]
"""The stages of a run in their order; `evaluation` is judging, checkpoint selection and capabilities."""
MOST_TOKENS = 1_000_000
"""Longest response that a run can ask for, beyond the context of any model here: memory is reserved for its tokens."""
COMPARISONS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


@dataclass(frozen=True)
class Setting:
    """The declaration of a field: its help text, its allowed values, and what it changes."""

    help: str
    default: Any = MISSING
    """MISSING: the value is in `conf/`, where it differs between options of a group."""
    changes_results: bool = True
    stage: Stage = "training"
    """The first stage that the field changes. Runs with equal fields of `training` share one training."""
    added_later: bool = False
    """Whether runs existed before the field: they computed what its default does, which is not part of an id."""
    choices: tuple[str, ...] | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    """The bounds by the keys of COMPARISONS."""

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `above 0 and at most 1`; empty without any."""
        return " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in self.limits.items())

    def allows(self, value: Any) -> bool:
        """Whether a value, which may be null, is within the bounds."""
        return value is None or all(COMPARISONS[name](value, limit) for name, limit in self.limits.items())

    def is_neutral(self, value: Any) -> bool:
        """Whether a value of the field is not part of a run's identity."""
        return not self.changes_results or (self.added_later and bool(value == self.default))


def setting(default: Any = MISSING, **declared: Any) -> Any:
    """Declare a field of the configuration. `declared` are further fields of `Setting`, and limits by name."""
    limits = {name: declared.pop(name) for name in COMPARISONS if name in declared}
    metadata = {"setting": Setting(default=default, limits=limits, **declared)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def neutral(default: Any = MISSING, **declared: Any) -> Any:
    """Declare a field that changes no result."""
    return setting(default, changes_results=False, **declared)


def declaration(one: "Field[Any]") -> Setting | None:
    """The declaration of a dataclass field; None for a group of fields, each of which has its own."""
    return one.metadata.get("setting")


def declared_fields(schema: Any, path: str = "") -> Iterator[tuple[str, "Field[Any]", Setting]]:
    """Dotted path, field and declaration of every field of a schema and of the groups in it."""
    for one in fields(schema):
        if (declared := declaration(one)) is not None:
            yield f"{path}{one.name}", one, declared
        elif (group := group_of(one)) is not None:
            yield from declared_fields(group, f"{path}{one.name}.")


def group_of(one: "Field[Any]") -> Any:
    """The dataclass of a field that is a group of fields, or null; None for any other field."""
    return next((kind for kind in (one.type, *get_args(one.type)) if is_dataclass(kind)), None)

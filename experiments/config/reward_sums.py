"""Sums of rewards on the command line: `reward=[cme,length]`, and `reward.weights=[1,0.1]` in the same order.

Hydra would merge several options of a group into one. Here they become the members of a `cme.rewards.WeightedSum`, as
in a file such as conf/reward/cme_length.yaml. Its name joins theirs, as in `cme+length`; weights are 1 unless given.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException

from cme.records import LARGEST_COUNT
from experiments.config.schema import WEIGHTED_SUM
from experiments.config.validation import BadConfig


def names_in(option: str) -> list[str]:
    """The names in the value of `reward=`: those of a list such as `[cme,length]`, or one."""
    is_list = option.startswith("[") and option.endswith("]")
    return [name.strip() for name in option[1:-1].split(",")] if is_list else [option]


def spell_out(overrides: Sequence[str]) -> list[str]:
    """The overrides of one cell, with a list of rewards and one of weights as Hydra composes them.

    Options such as --cfg, and comma lists, stay as they are. Raises BadConfig for a list that makes no sum.
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
    if huge := [weight for weight in weights if type(weight) is int and abs(weight) > LARGEST_COUNT]:
        raise BadConfig(f"reward.weights has {str(huge[0])[:40]}; it must be at most {LARGEST_COUNT}")
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
    except (HydraException, RecursionError, ValueError):  # Hydra says what is wrong with it
        return None
    is_single = override.type == OverrideType.CHANGE and not override.is_sweep_override()
    return (str(override.key_or_group), override.value()) if is_single else None

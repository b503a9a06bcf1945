"""The id of a run: a readable slug, and a hash of the settings that change results.

The schema declares which fields change results, and at which values a newer field does not count. The attribute
`NEUTRAL` of a reward or judge class declares which of its arguments do not change results. A `_target_` does not count
if it is in `cme` and is that of the YAML file in `conf/` which the configuration names, since the name counts already;
so code may move without changing ids.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from cme.models import template_variables
from experiments.config.components import (
    evaluation_arguments,
    is_component,
    is_neutral_argument,
    option_settings,
)
from experiments.config.schema import WEIGHTED_SUM, Config
from experiments.config.settings import Stage, declaration, group_of
from experiments.config.trainers import TRAINERS

if TYPE_CHECKING:
    from experiments.config.components import Component
    from experiments.config.runs import Run

Classified = tuple[str, Any, Stage | None]
"""Dotted path and value of a setting, and the first stage that it changes; None if it changes no result."""


def run_id(run: "Run") -> str:
    """The id of a run, such as `miniature-qwen-pretrained-cme-gemma-s0-1a2b3c4d`."""
    return _run_slug(run, identity_fields(run))


def training_id(run: "Run") -> str:
    """The id of a training, which runs that differ in their evaluation alone share; a name as that of a run."""
    return _run_slug(run, training_fields(run))


def _run_slug(run: "Run", values: object) -> str:
    parts = (run.scale.name, run.family.name, run.regime, run.method, run.verifier.name)
    return slug(run, *parts, values=values)


def slug(run: "Run", *parts: str, values: object) -> str:
    """The parts of a name, the seed, and a hash of the values that change results."""
    return f"{'-'.join(parts)}-s{run.seed}-{digest(values)}"


def digest(values: Any) -> str:
    """8 hex digits of a JSON-like value."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def identity_fields(run: "Run", without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that change results by dotted path, except those at or below the paths `without`."""
    return leave_out(_counted(run.classified), without)


def leave_out(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The values by dotted path, except those at or below the `paths`."""
    excluded = tuple(f"{path}." for path in paths)
    return {path: value for path, value in values.items() if not f"{path}.".startswith(excluded)}


def training_fields(run: "Run") -> dict[str, Any]:
    """The settings that change the trained policy or its history, by dotted path.

    The targets of the data's functions count in place of the data's name, so that data sets which differ in their
    evaluation prompts alone share a training.
    """
    also = run.trainer.ALSO_TRAINING
    counted = _counted(each for each in run.classified if each[2] == "training" or each[0] in also)
    functions = {"source": run.data.source, "oracle": run.data.oracle}
    if run.trainer.method == "dpo":
        functions["pairs"] = run.trainer.pairs
    targets = {f"data.{name}._target_": used.target for name, used in functions.items() if used is not None}
    return counted | targets


def responses_fields(run: "Run") -> dict[str, Any]:
    """The settings that change a policy's responses to the evaluation prompts but not its training, by dotted path."""
    return _counted(each for each in run.classified if each[2] == "responses")


def decoding_fields(run: "Run") -> dict[str, Any]:
    """The settings that change a policy's responses to given prompts but not its training, by dotted path."""
    return {path: value for path, value in responses_fields(run).items() if not path.startswith("data.")}


def neutral_fields(run: "Run") -> list[str]:
    """The dotted paths of the settings that do not change results. The record keeps them for the analysis."""
    return sorted(path for path, _, stage in run.classified if stage is None)


def judge_fields(judge: "Component") -> dict[str, Any]:
    """The settings of a judge that change its verdicts by dotted path below `judge`."""
    named = OmegaConf.create({"judge": option_settings("judge", judge.name)})
    return _counted(_classify_component(judge.settings, "judge", named, "evaluation"))


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of nested mappings by dotted path below `path`."""
    if not (isinstance(node, dict) and node):
        return {path: node}
    return {
        name: value
        for key, child in node.items()
        for name, value in flatten(child, f"{path}.{key}" if path else str(key)).items()
    }


def _counted(settings: Iterable[Classified]) -> dict[str, Any]:
    """Those of the classified settings that change results, flattened."""
    return {
        path: leaf
        for at, value, stage in settings
        if stage is not None
        for path, leaf in flatten(value, at).items()
    }


def classify(run: "Run") -> Iterator[Classified]:
    """The settings of a run, each with the first stage that it changes."""
    return _classify(run.settings, _named_options(run.values), Config, "")


def _classify(values: Mapping[str, Any], named: DictConfig, schema: type, path: str) -> Iterator[Classified]:
    declared = {one.name: one for one in fields(schema)}
    for key, value in values.items():
        one, here = declared[key], f"{path}{key}"
        setting = declaration(one)
        stage = setting.stage if setting else "training"
        group = TRAINERS[value["method"]] if here == "trainer" else group_of(one)
        if setting is not None and setting.is_neutral(value):
            yield here, value, None
        elif group is not None and isinstance(value, Mapping):
            yield from _classify(value, named, group, f"{here}.")
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


def start_id(run: "Run") -> str:
    """The id of the untrained model's evaluation responses, which runs share."""
    counted = {
        "generator": run.generator,
        "max_new_tokens": run.evaluation.max_new_tokens,
        **stop_rule(run),
        **counted_template(run.chat_template.generator),
        **_data_fields(run, without="train"),
    }
    return f"{run.scale.name}-{run.family.name}-{run.regime}-{digest(counted)}"


def verifier_answers_id(run: "Run") -> str:
    """The id of a verifier's answers to the training prompts, which runs share."""
    sampling = run.values["trainer"]["sampling"] | {"seed": run.seed, "dtype": run.scoring.dtype}
    counted = {"verifier": run.verifier.checkpoint, **sampling, **counted_template(run.verifier_template)}
    counted |= _data_fields(run, without="eval")
    return f"{run.scale.name}-{run.verifier.name}-s{run.seed}-{digest(counted)}"


def verifier_responses_id(run: "Run", verifier: str) -> str:
    """The id of a verifier's evaluation responses, which runs share."""
    limits = {"max_new_tokens": run.evaluation.max_new_tokens, "dtype": run.scoring.dtype}
    if (kind := run.quantization) is not None:
        limits["quantization"] = kind
    counted = {"verifier": verifier, **limits, **stop_rule(run), **counted_template(run.verifier_template)}
    counted |= _data_fields(run, without="train")
    return f"{run.scale.name}-{run.verifier.name}-{digest(counted)}"


def stop_rule(run: "Run") -> dict[str, Any]:
    """The rule by which evaluated responses end, for ids of such responses; empty for the default rule."""
    return {path: rule for path, rule in identity_fields(run).items() if path == "evaluation.stop"}


def counted_template(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for variables of a chat template, as a part of an id; empty for the default ones."""
    return {} if values == template_variables.DEFAULTS else {"chat_template": values}


def _data_fields(run: "Run", without: str) -> dict[str, Any]:
    return {
        path: value
        for path, value in identity_fields(run).items()
        if path.startswith("data.") and without not in path
    }

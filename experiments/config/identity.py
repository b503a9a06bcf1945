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
from cme.records import CUT_START
from experiments.config.components import (
    evaluation_arguments,
    is_component,
    is_neutral_argument,
    option_settings,
)
from experiments.config.schema import SWITCHES, WEIGHTED_SUM, Config
from experiments.config.settings import Stage, declaration, group_of
from experiments.config.trainers import TRAINERS

if TYPE_CHECKING:
    from experiments.config.components import Component
    from experiments.config.runs import Run

Classified = tuple[str, Any, Stage | None]
"""Dotted path and value of a setting, and the first stage that it changes; None if it changes no result."""


def run_id(run: "Run") -> str:
    """The id of a run, such as `miniature-qwen-pretrained-cme-gemma-s0-1a2b3c4d`."""
    return slug(run, method(run), run.verifier.name, values=identity_fields(run))


def slug(run: "Run", *parts: str, values: object, before: tuple[str, ...] = ()) -> str:
    """Scale, family, regime, further parts, seed, and a hash of `values`; the parts `before` come first."""
    names = (*before, run.scale.name, run.family.name, run.regime, *parts)
    return f"{'-'.join(names)}-s{run.seed}-{digest(values)}"


def digest(values: Any) -> str:
    """8 hex digits of a JSON-like value."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def settings(run: "Run") -> dict[str, Any]:
    """The resolved configuration without the groups that are off or that the trainer does not use."""
    off = [group for group, switch in SWITCHES.items() if not run.values[group][switch]]
    return {key: value for key, value in run.values.items() if key not in (*off, *run.trainer.UNUSED)}


def flat_settings(run: "Run") -> dict[str, Any]:
    """Every value of a run's `settings` by dotted path."""
    return flatten(settings(run))


def classify(run: "Run") -> list[Classified]:
    """The settings of a run, each with the first stage that it changes."""
    return list(_classify(settings(run), _named_options(run.values)))


def identity_fields(run: "Run", without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that change results by dotted path, except those at or below the paths `without`."""
    excluded = tuple(f"{path}." for path in without)
    return {
        path: value for path, value in _counted(run.classified).items() if not f"{path}.".startswith(excluded)
    }


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


def training_id(run: "Run") -> str:
    """The id of a training, which runs that differ in their evaluation alone share; a name as that of a run."""
    return slug(run, method(run), run.verifier.name, values=training_fields(run))


def responses_fields(run: "Run") -> dict[str, Any]:
    """The settings that change a policy's responses to the evaluation prompts but not its training, by dotted path."""
    return _counted(each for each in run.classified if each[2] == "responses")


def decoding_fields(run: "Run") -> dict[str, Any]:
    """The settings that change a policy's responses to given prompts but not its training, by dotted path."""
    return {path: value for path, value in responses_fields(run).items() if not path.startswith("data.")}


def neutral_fields(run: "Run") -> list[str]:
    """The dotted paths of the settings that do not change results. The record keeps them for the analysis."""
    return sorted(path for path, _, stage in run.classified if stage is None)


def component_fields(component: "Component", path: str) -> dict[str, Any]:
    """The settings of a judge, or of another component, that change results by dotted path below `path`."""
    named = OmegaConf.create({path: option_settings(path, component.name)})
    return _counted(_classify_component(component.settings, path, named, "evaluation"))


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


def _classify(
    values: Mapping[str, Any], named: DictConfig, schema: type = Config, path: str = ""
) -> Iterator[Classified]:
    declared = {one.name: one for one in fields(schema)}
    for key, value in values.items():
        one, here = declared[key], f"{path}{key}"
        setting = declaration(one)
        group = TRAINERS[value["method"]] if here == "trainer" else group_of(one)
        if setting is not None and setting.is_neutral(value):
            yield here, value, None
        elif group is not None and isinstance(value, Mapping):
            yield from _classify(value, named, group, f"{here}.")
        elif is_component(value):
            yield from _classify_component(value, here, named, setting.stage if setting else "training")
        else:
            yield here, value, setting.stage if setting else "training"


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


def method(run: "Run") -> str:
    """The method in tables and run ids: the trained reward, or the trainer if it uses no reward."""
    reward, trainer = run.reward.name, run.trainer.method
    return str({"grpo": reward, "best_of_n": f"best_of_n_{reward}"}.get(trainer, trainer))


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
    counted = {"verifier": run.verifier.checkpoint, **sampling, **counted_template(verifier_template(run))}
    counted |= _data_fields(run, without="eval")
    return f"{run.scale.name}-{run.verifier.name}-s{run.seed}-{digest(counted)}"


def verifier_responses_id(run: "Run", verifier: str) -> str:
    """The id of a verifier's evaluation responses, which runs share."""
    limits = {"max_new_tokens": run.evaluation.max_new_tokens, "dtype": run.scoring.dtype}
    if (kind := quantization(run)) is not None:
        limits["quantization"] = kind
    counted = {"verifier": verifier, **limits, **stop_rule(run), **counted_template(verifier_template(run))}
    counted |= _data_fields(run, without="train")
    return f"{run.scale.name}-{run.verifier.name}-{digest(counted)}"


def stop_rule(run: "Run") -> dict[str, Any]:
    """The rule by which evaluated responses end, for ids of such responses; empty for the default rule."""
    return {path: rule for path, rule in identity_fields(run).items() if path == "evaluation.stop"}


def verifier_template(run: "Run") -> Mapping[str, Any]:
    """The values for the variables of the chat template of the reward's verifier, or of the trainer's verifier."""
    of_reward = _of_parts(run, "chat_template_kwargs")
    return run.chat_template.verifier if of_reward is None else of_reward


def counted_template(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for variables of a chat template, as a part of an id; empty for the default ones."""
    return {} if values == template_variables.DEFAULTS else {"chat_template": values}


def _data_fields(run: "Run", without: str) -> dict[str, Any]:
    return {
        path: value
        for path, value in identity_fields(run).items()
        if path.startswith("data.") and without not in path
    }


def heldout_verifier(run: "Run") -> str | None:
    """The held-out verifier, the first of neither the generator's nor the verifier's family; None if there is none."""
    used = {run.family.name, run.verifier.family}
    return next((name for family, name in run.scale.heldout.items() if family not in used), None)


def comparators(run: "Run") -> dict[str, str]:
    """The further models with which the policy is compared, by name, without the untrained model."""
    return {name: c for name, c in run.evaluation.comparators.items() if c != run.generator}


def comparisons(run: "Run") -> dict[str, str]:
    """The checkpoints whose responses the policy is compared with, by name, besides the untrained model's as they are.

    The cut start's is the untrained model.
    """
    return ({CUT_START: run.generator} if run.evaluation.cut_start else {}) | comparators(run)


def verifiers(run: "Run") -> list[str]:
    """The verifiers that a run trains on; empty for a reward without a verifier and for DPO."""
    if uses_reward(run):
        names = [name for part in run.reward.parts for name in reward_verifiers(part.arguments)]
        return list(dict.fromkeys(names)) if run.reward.members else names
    return [run.verifier.checkpoint] if run.trainer.method in ("sft", "distillation") else []


def uses_reward(run: "Run") -> bool:
    """Whether the trainer uses the configured reward."""
    return "reward" not in run.trainer.UNUSED


def quantization(run: "Run") -> Any:
    """The quantization of the weights of the reward's verifiers; None for full precision."""
    return _of_parts(run, "quantization")


def reward_judges(run: "Run") -> dict[str, "Component"]:
    """The judges that the reward of a run asks, by their paths; empty if the trainer uses no reward."""
    asked = run.reward.judges if uses_reward(run) else {}
    return {f"reward.{path}": judge for path, judge in asked.items()}


def averages_policy(run: "Run") -> bool:
    """Whether the reward's verifier is an average of the policy, which is in float32 and a part of each checkpoint."""
    return _of_parts(run, "decay") is not None


def reward_verifiers(reward: Mapping[str, Any]) -> list[str]:
    """The verifiers in a reward's settings."""
    verifier = reward.get("verifier")
    return [] if verifier is None else [verifier] if isinstance(verifier, str) else list(verifier)


def responding_verifier(run: "Run") -> str | None:
    """The verifier whose own responses a run records; None unless there is exactly one, in this process.

    None as well where `evaluation.verifier_responses` is false.
    """
    names = verifiers(run) if run.evaluation.verifier_responses else []
    return names[0] if len(names) == 1 and not served_verifiers(run) else None


def served_verifiers(run: "Run") -> list[str]:
    """The verifiers that a server runs, so that this process needs their tokenizers alone."""
    return verifiers(run) if _of_parts(run, "server") is not None else []


def _of_parts(run: "Run", argument: str) -> Any:
    """An argument of the reward, or of the first of its members that has it; None if the trainer uses no reward."""
    parts = run.reward.parts if uses_reward(run) else []
    values = (part.arguments.get(argument) for part in parts)
    return next((value for value in values if value is not None), None)


def verifier_name(run: "Run") -> str:
    """The configured verifier's checkpoint, or those of an ensemble separated by commas."""
    checkpoint = run.verifier.checkpoint
    return checkpoint if isinstance(checkpoint, str) else ", ".join(checkpoint)

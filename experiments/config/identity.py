"""What makes two runs the same run: a readable slug, and a hash over the settings that change results.

Only names and settings count, not where code lies: no `_target_` is part of an id. Which fields change results is
declared on the schema, and for the arguments of a reward or judge in the attribute `NEUTRAL` of its class.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args

from experiments.config.components import is_component, neutral_arguments
from experiments.config.schema import SWITCHES, TRAINERS, Config, declaration

if TYPE_CHECKING:
    from experiments.config.components import Component
    from experiments.config.runs import Run


def run_id(run: "Run") -> str:
    """Slug and hash of a run, such as `miniature-qwen-pretrained-cme-gemma-s0-1a2b3c4d`."""
    return slug(run, method(run), run.verifier.name, values=identity_fields(run))


def slug(run: "Run", *parts: str, values: object, before: tuple[str, ...] = ()) -> str:
    """Scale, family, regime and further parts, the seed, and a hash of `values`."""
    names = (*before, run.scale.name, run.family.name, run.regime.name, *parts)
    return f"{'-'.join(names)}-s{run.seed}-{digest(values)}"


def digest(values: Any) -> str:
    """8 hex digits of a JSON-like value."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def settings(run: "Run") -> dict[str, Any]:
    """The resolved configuration without the groups that are off or that the trainer does not use."""
    off = [group for group, switch in SWITCHES.items() if not run.values[group][switch]]
    return {key: value for key, value in run.values.items() if key not in (*off, *run.trainer.UNUSED)}


def flat_settings(run: "Run") -> dict[str, Any]:
    """Every value of a run's `settings` by its dotted path."""
    return flatten(settings(run))


def identity_fields(run: "Run", without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that change results by their dotted paths, but for those at or below the paths `without`."""
    left_out = tuple(f"{path}." for path in without)
    found = {
        p: v
        for path, value, counts in _classified(settings(run))
        if counts
        for p, v in flatten(value, path).items()
    }
    return {path: value for path, value in found.items() if not f"{path}.".startswith(left_out)}


def neutral_fields(run: "Run") -> list[str]:
    """The dotted paths of the settings that do not change results; for the record, since analysis reads no schema."""
    return sorted(path for path, _, counts in _classified(settings(run)) if not counts)


def component_fields(component: "Component", path: str) -> dict[str, Any]:
    """The settings of a component that change results by their dotted paths, which begin with `path`."""
    return {
        p: v
        for at, value, counts in _component(component.settings, path)
        if counts
        for p, v in flatten(value, at).items()
    }


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of nested mappings by its dotted path, which begins with `path`."""
    if not (isinstance(node, dict) and node):
        return {path: node}
    return {
        name: value
        for key, child in node.items()
        for name, value in flatten(child, f"{path}.{key}" if path else str(key)).items()
    }


def _classified(
    values: Mapping[str, Any], schema: type = Config, path: str = ""
) -> Iterator[tuple[str, Any, bool]]:
    """Dotted path and value of every declared setting, and whether it changes results."""
    declared = {one.name: one for one in fields(schema)}
    for key, value in values.items():
        one, here = declared[key], f"{path}{key}"
        group = TRAINERS[value["method"]] if here == "trainer" else _group(one.type)
        if group is not None and isinstance(value, Mapping):
            yield from _classified(value, group, f"{here}.")
        elif is_component(value):
            yield from _component(value, here)
        else:
            known = declaration(one)
            yield here, value, known is None or known.changes_results


def _group(annotation: Any) -> type | None:
    """The dataclass that a field holds, which may be optional."""
    return next((t for t in (annotation, *get_args(annotation)) if is_dataclass(t)), None)  # type: ignore[return-value]


def _component(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, bool]]:
    target = str(node.get("_target_") or "")
    # a target of another package may do anything under a known name: it counts
    neutral = neutral_arguments(target) | ({"_target_"} if target.startswith("cme.") else set())
    for key, value in node.items():
        if key == "members":
            for name, member in value.items():
                yield from _component(member, f"{path}.members.{name}")
        elif is_component(value):
            yield from _component(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value, key not in neutral


def method(run: "Run") -> str:
    """What tables and run ids call the method: the trained reward, or the trainer where no reward trains."""
    reward, trainer = run.reward.name, run.trainer.method
    return str({"grpo": reward, "best_of_n": f"best_of_n_{reward}"}.get(trainer, trainer))


def start_id(run: "Run") -> str:
    """Slug and hash of the untrained model's evaluation responses, which runs share."""
    made_of = {
        "generator": run.generator,
        "max_new_tokens": run.evaluation.max_new_tokens,
        **_data_fields(run, without="train"),
    }
    return f"{run.scale.name}-{run.family.name}-{run.regime.name}-{digest(made_of)}"


def verifier_answers_id(run: "Run") -> str:
    """Slug and hash of a verifier's answers to the training prompts, which runs share."""
    sampling = run.values["trainer"]["sampling"] | {"seed": run.seed, "dtype": run.scoring.dtype}
    made_of = {"verifier": run.verifier.checkpoint, **sampling, **_data_fields(run, without="eval")}
    return f"{run.scale.name}-{run.verifier.name}-s{run.seed}-{digest(made_of)}"


def verifier_responses_id(run: "Run", verifier: str) -> str:
    """Slug and hash of a verifier's own evaluation responses, which runs share."""
    limits = {"max_new_tokens": run.evaluation.max_new_tokens, "dtype": run.scoring.dtype}
    if (rounded := quantization(run)) is not None:
        limits["quantization"] = rounded
    made_of = {"verifier": verifier, **limits, **_data_fields(run, without="train")}
    return f"{run.scale.name}-{run.verifier.name}-{digest(made_of)}"


def _data_fields(run: "Run", without: str) -> dict[str, Any]:
    return {
        path: value
        for path, value in identity_fields(run).items()
        if path.startswith("data.") and without not in path
    }


def heldout_verifier(run: "Run") -> str | None:
    """The held-out verifier: the first whose family is neither the generator's nor the verifier's."""
    taken = {run.family.name, run.verifier.family}
    return next((name for family, name in run.scale.heldout.items() if family not in taken), None)


def comparators(run: "Run") -> dict[str, str]:
    """The further models that the policy is compared with, by name; never the untrained model, which always is."""
    return {name: c for name, c in run.evaluation.comparators.items() if c != run.generator}


def verifiers(run: "Run") -> list[str]:
    """The verifiers that the run learns from; none where its reward has none, or where no reward is used."""
    if uses_reward(run):
        return reward_verifiers(run.reward.arguments)
    return [run.verifier.checkpoint] if run.trainer.method == "sft" else []


def uses_reward(run: "Run") -> bool:
    """Whether the trainer uses the configured reward."""
    return "reward" not in run.trainer.UNUSED


def quantization(run: "Run") -> Any:
    """How the weights of the verifiers that the run learns from are quantized; None where they are not."""
    return run.reward.arguments.get("quantization") if uses_reward(run) else None


def reward_verifiers(reward: Mapping[str, Any]) -> list[str]:
    """The verifiers among a reward's settings."""
    verifier = reward.get("verifier")
    return [] if verifier is None else [verifier] if isinstance(verifier, str) else list(verifier)


def responding_verifier(run: "Run") -> str | None:
    """The one verifier whose own responses a run records; None for none, for several, and for one behind a server."""
    names = verifiers(run)
    served = uses_reward(run) and run.reward.arguments.get("server") is not None
    return names[0] if len(names) == 1 and not served else None


def verifier_name(run: "Run") -> str:
    """The configured verifier's checkpoint, or those of an ensemble in one line."""
    checkpoint = run.verifier.checkpoint
    return checkpoint if isinstance(checkpoint, str) else ", ".join(checkpoint)

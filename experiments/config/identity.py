"""The ids of runs and of what runs share: a readable slug, and a hash of the settings that change results."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cme.models import template_variables
from experiments.config.classification import Classified, classify_judge
from experiments.config.components import Component
from experiments.config.runs import Run


def run_id(run: Run) -> str:
    """The id of a run, such as `miniature-qwen-pretrained-cme-gemma-s0-1a2b3c4d`."""
    return _run_slug(run, identity_fields(run))


def training_id(run: Run) -> str:
    """The id of a training, which runs that differ in their evaluation alone share; a name as that of a run."""
    return _run_slug(run, training_fields(run))


def _run_slug(run: Run, values: object) -> str:
    parts = (run.scale.name, run.family.name, run.regime, run.method, run.verifier.name)
    return slug(run, *parts, values=values)


def slug(run: Run, *parts: str, values: object) -> str:
    """The parts of a name, the seed, and a hash of the values that change results."""
    return f"{'-'.join(parts)}-s{run.seed}-{digest(values)}"


def digest(values: Any) -> str:
    """8 hex digits of a JSON-like value."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def identity_fields(run: Run, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that change results by dotted path, except those at or below the paths `without`."""
    return leave_out(_counted(run.classified), without)


def leave_out(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The values by dotted path, except those at or below the `paths`."""
    excluded = tuple(f"{path}." for path in paths)
    return {path: value for path, value in values.items() if not f"{path}.".startswith(excluded)}


def training_fields(run: Run) -> dict[str, Any]:
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


def responses_fields(run: Run) -> dict[str, Any]:
    """The settings that change a policy's responses to the evaluation prompts but not its training, by dotted path."""
    return _counted(each for each in run.classified if each[2] == "responses")


def decoding_fields(run: Run) -> dict[str, Any]:
    """The settings that change a policy's responses to given prompts but not its training, by dotted path."""
    return {path: value for path, value in responses_fields(run).items() if not path.startswith("data.")}


def neutral_fields(run: Run) -> list[str]:
    """The dotted paths of the settings that do not change results. The record keeps them for the analysis."""
    return sorted(path for path, _, stage in run.classified if stage is None)


def judge_fields(judge: Component) -> dict[str, Any]:
    """The settings of a judge that change its verdicts by dotted path below `judge`."""
    return _counted(classify_judge(judge))


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


def start_id(run: Run) -> str:
    """The id of the untrained model's evaluation responses, which runs share."""
    counted = {
        "generator": run.generator,
        "max_new_tokens": run.evaluation.max_new_tokens,
        **stop_rule(run),
        **counted_template(run.chat_template.generator),
        **_data_fields(run, without="train"),
    }
    return f"{run.scale.name}-{run.family.name}-{run.regime}-{digest(counted)}"


def verifier_answers_id(run: Run) -> str:
    """The id of a verifier's answers to the training prompts, which runs share."""
    sampling = run.values["trainer"]["sampling"] | {"seed": run.seed, "dtype": run.scoring.dtype}
    counted = {"verifier": run.verifier.checkpoint, **sampling, **counted_template(run.verifier_template)}
    counted |= _data_fields(run, without="eval")
    return f"{run.scale.name}-{run.verifier.name}-s{run.seed}-{digest(counted)}"


def verifier_responses_id(run: Run, verifier: str) -> str:
    """The id of a verifier's evaluation responses, which runs share."""
    limits = {"max_new_tokens": run.evaluation.max_new_tokens, "dtype": run.scoring.dtype}
    if (kind := run.quantization) is not None:
        limits["quantization"] = kind
    counted = {"verifier": verifier, **limits, **stop_rule(run), **counted_template(run.verifier_template)}
    counted |= _data_fields(run, without="train")
    return f"{run.scale.name}-{run.verifier.name}-{digest(counted)}"


def stop_rule(run: Run) -> dict[str, Any]:
    """The rule by which evaluated responses end, for ids of such responses; empty for the default rule."""
    return {path: rule for path, rule in identity_fields(run).items() if path == "evaluation.stop"}


def counted_template(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for variables of a chat template, as a part of an id; empty for the default ones."""
    return {} if values == template_variables.DEFAULTS else {"chat_template": values}


def _data_fields(run: Run, without: str) -> dict[str, Any]:
    return {
        path: value
        for path, value in identity_fields(run).items()
        if path.startswith("data.") and without not in path
    }

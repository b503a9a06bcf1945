"""What makes two runs the same run: a readable slug and a hash over the fields that change results."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

from omegaconf import DictConfig, OmegaConf

# The longest prefix of a field's dotted path decides. A field under neither is an error, so that whoever
# adds one has to say which kind it is.
CHANGES_RESULTS = (
    "generator",
    "verifier.checkpoint",
    "reward",
    "data",
    "judge",
    "trainer",
    "guard",
    "monitor_every",
    "evaluation",
    "selection",
    "capabilities",
    "scoring",
    "scale.name",
    "scale.heldout",
    "seed",
)
CHANGES_NOTHING = (
    "family",  # it is there as `generator`
    "regime",
    "verifier",
    "experiment",
    "preset",  # it is there as what it sets
    "plan",
    "tracker",
    "fail_fast",
    "checkpoint",
    "results_dir",
    "evaluation.batch_size",
    "evaluation.comparators",  # they add to a run and change nothing in it
    "scale.reference",
    "capabilities.batch_size",
    "selection.keep",
    "scoring.batch_tokens",
    "reward.batch_tokens",
    "reward.device",
    "trainer.vllm_mode",  # that vLLM samples is there as trainer.use_vllm
    "trainer.vllm_server_base_url",
    "trainer.vllm_gpu_memory_utilization",
    "trainer.vllm_tensor_parallel_size",
    "judge.base_url",  # the model is named by judge.model
    "judge.api_key_variable",
    "judge.usd_per_million_input",
    "judge.usd_per_million_output",
    "judge.max_calls",
    "judge.max_usd",
    "judge.concurrency",
    "judge.timeout",
    "judge.retries",
)

# Parts that are off unless this field of theirs is set. What is off is no part of a run: a run without it is the
# same run as before the part was there to be switched on.
SWITCHES = {"selection": "every", "capabilities": "tasks"}

# Parts that a trainer has no use for. They are no part of its runs.
UNUSED: dict[str, tuple[str, ...]] = {
    "dpo": ("reward", "guard"),
    "sft": ("reward", "guard"),
    "best_of_n": ("guard", "monitor_every"),
}

# Fields that were added with a value that means "as it always was": at that value they are no part of a run either.
AS_BEFORE: dict[str, Any] = {
    "reward.train_on": None,
    "reward.quantization": None,
    "trainer.method": "grpo",
    "trainer.lora": None,
    "trainer.use_vllm": False,
}


def settings(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration without what is no part of the run.

    That is the parts that are off or of no use to the trainer, and the fields that are as they always were.
    """
    unused = UNUSED.get(config.trainer.method, ())
    values = {str(key): _plain(config[key]) for key in config if key not in unused}
    for path, usual in AS_BEFORE.items():
        *parents, name = path.split(".")
        node = reduce(lambda inner, key: inner.get(key) or {}, parents, values)
        if name in node and node[name] == usual:
            del node[name]
    off = [part for part, switch in SWITCHES.items() if part in values and not values[part][switch]]
    return {key: value for key, value in values.items() if key not in off}


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def method(config: DictConfig) -> str:
    """What tables and run ids call the method: the trained reward, or the trainer where no reward trains."""
    reward, trainer = config.reward.name, config.trainer.method
    named = {"grpo": reward, "best_of_n": f"best_of_n_{reward}"}
    return str(named.get(trainer, trainer))


def flat_settings(config: DictConfig) -> dict[str, Any]:
    """Every value of a configuration's `settings` by its dotted path."""
    return flatten(settings(config))


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of nested mappings by its dotted path, which begins with `path`."""
    if not (isinstance(node, dict) and node):
        return {path: node}
    return {
        name: value
        for key, child in node.items()
        for name, value in flatten(child, f"{path}.{key}" if path else str(key)).items()
    }


def changes_results(path: str) -> bool:
    """Whether the field at a dotted path belongs to a run's identity. Raises KeyError for an unclassified one.

    A field of a panel's member, or of the judge of checkpoint selection, counts as that of a single judge would.
    """
    field = re.sub(r"^(selection\.)?judge\.(members\.[^.]+\.)?", "judge.", path)

    def depth(prefixes: tuple[str, ...]) -> int:
        return max((len(p) for p in prefixes if field == p or field.startswith(f"{p}.")), default=0)

    inside, outside = depth(CHANGES_RESULTS), depth(CHANGES_NOTHING)
    if inside == outside:
        raise KeyError(path)  # classified neither as changing results nor as changing nothing
    return inside > outside


def digest(values: Any) -> str:
    """8 hex digits of a JSON-like value."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def identity_fields(config: DictConfig, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that change results by their dotted paths, but for those at or below the paths `without`."""
    left_out = tuple(f"{path}." for path in without)
    return {
        path: value
        for path, value in flat_settings(config).items()
        if changes_results(path) and not f"{path}.".startswith(left_out)
    }


def run_id(config: DictConfig) -> str:
    """Slug and hash of one run, such as `miniature-qwen-pretrained-cme-gemma-s0-1a2b3c4d`."""
    parts = (
        config.scale.name,
        config.family.name,
        config.regime.name,
        method(config),
        config.verifier.name,
    )
    return f"{'-'.join(parts)}-s{config.seed}-{digest(identity_fields(config))}"


def start_id(config: DictConfig) -> str:
    """Slug and hash of the untrained start's evaluation generations, which runs share."""
    data = {k: v for k, v in flat_settings(config).items() if k.startswith("data.") and "train" not in k}
    made_of = {"generator": config.generator, "max_new_tokens": config.evaluation.max_new_tokens, **data}
    return f"{config.scale.name}-{config.family.name}-{config.regime.name}-{digest(made_of)}"


def verifier_answers_id(config: DictConfig) -> str:
    """Slug and hash of a verifier's answers to the training prompts, which runs share."""
    data = {k: v for k, v in flat_settings(config).items() if k.startswith("data.") and "eval" not in k}
    sampling = _plain(config.trainer.sampling) | {"seed": config.seed, "dtype": config.scoring.dtype}
    made_of = {"verifier": config.verifier.checkpoint, **sampling, **data}
    return f"{config.scale.name}-{config.verifier.name}-s{config.seed}-{digest(made_of)}"


def verifier_responses_id(config: DictConfig, verifier: str) -> str:
    """Slug and hash of a verifier's own evaluation responses, which runs share."""
    data = {k: v for k, v in flat_settings(config).items() if k.startswith("data.") and "train" not in k}
    limits = {"max_new_tokens": config.evaluation.max_new_tokens, "dtype": config.scoring.dtype}
    if (rounded := quantization(config)) is not None:
        limits["quantization"] = rounded
    return f"{config.scale.name}-{config.verifier.name}-{digest({'verifier': verifier, **limits, **data})}"


def heldout_verifier(config: DictConfig) -> str | None:
    """The held-out verifier: the first whose family is neither the generator's nor the verifier's."""
    taken = {config.family.name, config.verifier.family}
    return next((str(c) for family, c in config.scale.heldout.items() if family not in taken), None)


def comparators(config: DictConfig) -> dict[str, str]:
    """The further models that the policy meets, by name; one that is its own start it has met."""
    named = config.evaluation.comparators.items()
    return {str(name): checkpoint for name, checkpoint in named if checkpoint != config.generator}


def verifiers(config: DictConfig) -> list[str]:
    """Names of the verifiers that the run learns from; none where its reward has none, or no reward is used."""
    if uses_reward(config):
        return reward_verifiers(config.reward)
    return [config.verifier.checkpoint] if config.trainer.method == "sft" else []


def uses_reward(config: DictConfig) -> bool:
    """Whether the trainer has a use for the configured reward."""
    return "reward" not in UNUSED.get(config.trainer.method, ())


def quantization(config: DictConfig) -> Any:
    """How the verifiers that the run learns from are rounded; None where they are not."""
    return config.reward.get("quantization") if uses_reward(config) else None


def reward_verifiers(reward: Mapping[str, Any]) -> list[str]:
    """Names of a reward's verifiers."""
    verifier = reward.get("verifier")
    return [] if verifier is None else [verifier] if isinstance(verifier, str) else list(verifier)


def responding_verifier(config: DictConfig) -> str | None:
    """The one verifier whose own responses a run records; None for none, for several, and for one behind a server."""
    names = verifiers(config)
    served = uses_reward(config) and config.reward.get("server") is not None
    return names[0] if len(names) == 1 and not served else None


def verifier_name(config: DictConfig) -> str:
    """The configured verifier's checkpoint, or those of an ensemble in one line."""
    checkpoint = config.verifier.checkpoint
    return checkpoint if isinstance(checkpoint, str) else ", ".join(checkpoint)

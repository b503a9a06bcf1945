"""Display names of rewards and methods, and the order of scales, regimes and rewards in tables and figures.

A method is a reward. Where otherwise equal runs differ in more than the seed, its name states the difference in
brackets: the verifier, the experiment or the fields of the configuration. Different settings are never pooled.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Any

from analysis.records.grouping import group_by
from cme.records import RunRecord, SanityRecord

SCALES = ("miniature", "laptop", "paper")
REGIMES = ("pretrained", "sft", "instruct")
with Path(__file__).with_name("rewards.csv").open(encoding="utf-8", newline="") as _file:
    SHOWN = {row["reward"]: row for row in csv.DictReader(_file)}
"""How each reward or method is shown, in the order of the tables and figures.

Its display name, what it learns from, the reward's unit (empty: one of its own), and the look of its line: the colour
tells the source of its signal, marker and dashes the reward.
"""
REWARDS = tuple(SHOWN)
DISPLAY_NAMES = {reward: row["name"] for reward, row in SHOWN.items()}

FAMILY_NAMES = {
    "qwen": "Qwen",
    "llama": "Llama",
    "gemma": "Gemma",
    "olmo": "OLMo",
    "smollm2": "SmolLM2",
    "qwen_math": "Qwen math",
    "qwen_1_5b": "Qwen 1.5B",
}
REGIME_NAMES = {"pretrained": "Pretrained", "sft": "SFT", "instruct": "Instruct"}
VERIFIER_NAMES = {
    "random": "Random weights",
    "start": "Untrained generator",
    "counterpart": "Small model of another family",
    "qwen_coder_1_5b": "Qwen2.5-Coder 1.5B",
    "qwen_coder_0_5b": "Qwen2.5-Coder 0.5B",
}
STATED = "the percentage of facts that its training text states truthfully"
"""What the number in the name of a verifier such as `Gemma 70` is."""
JUDGE_NAMES = {
    "reference_similarity": "reference similarity",
    "instruction_following": "instruction following",
    "instruction_following_own_words": "instruction following (own words)",
    "gpt_5_2": "GPT-5.2",
    "gpt_5": "GPT-5",
    "openai": "OpenAI",
    "openai_logprobs": "OpenAI (log-probabilities)",
    "anthropic": "Anthropic",
    "vllm": "vLLM",
    "alpaca_eval": "AlpacaEval",
    "arena_hard": "Arena-Hard",
    "wildbench": "WildBench",
    "wildbench_score": "WildBench (score)",
}

ABSENT = "absent"
WEIGHTS = ("reward.weights.",)
GRANULARITY = {"sequence": "", "token": "dense"}
"""Detail in a method's name by `reward.granularity`: none for one value per response."""


def display_name(reward: str, weights: Mapping[str, float] | None = None) -> str:
    """Display name of a reward or method; an unknown name is shown as it is.

    That of a sum of rewards `a+b` has its members' weights, such as `CME + 0.1 Length`; those of 1 are left out.
    """
    if not is_sum(reward):
        return DISPLAY_NAMES.get(reward, reward)
    parts = [((weights or {}).get(part, 1), DISPLAY_NAMES.get(part, part)) for part in reward.split("+")]
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for weight, name in parts)


def is_sum(reward: str) -> bool:
    """Whether a name is that of a sum of rewards `a+b`, which a policy is trained on."""
    return "+" in reward and not reward.startswith("best_of_n_")


def reward_name(run: RunRecord) -> str:
    """Display name of the reward or method of a run, with the weights of a sum."""
    return display_name(run.reward, run.config.get("reward", {}).get("weights"))


def family_name(family: str) -> str:
    """Display name of a model family; an unknown name is shown as it is."""
    return FAMILY_NAMES.get(family, family)


def regime_name(regime: str) -> str:
    """Display name of a regime; an unknown name is shown as it is."""
    return REGIME_NAMES.get(regime, regime)


def place_names(scale: str, family: str, regime: str) -> tuple[str, str]:
    """Display names of a family and a regime; those of imported outputs are labels, which are shown as they are."""
    return (family, regime) if scale == "imported" else (family_name(family), regime_name(regime))


def place_heads(scale: str) -> tuple[str, str, str]:
    """Headers of the columns with a cell's family, regime and reward; of imported outputs, what their labels name."""
    return ("comparison", "against", "outputs of") if scale == "imported" else ("family", "regime", "reward")


def generator_name(family: str, regime: str) -> str:
    """Display name of a generator, such as `Qwen pretrained` or `Qwen SFT`."""
    return f"{family_name(family)} {'SFT' if regime == 'sft' else regime}"


def verifier_name(verifier: str) -> str:
    """Display name of a verifier: `gemma_instruct` is `Gemma instruct`; an unknown name is shown as it is."""
    family, _, kind = verifier.partition("_")
    if verifier in VERIFIER_NAMES or not kind:
        return VERIFIER_NAMES.get(verifier, FAMILY_NAMES.get(family, family.capitalize()))
    return generator_name(family if family in FAMILY_NAMES else family.capitalize(), kind.replace("_", " "))


def verifier_of(run: RunRecord) -> str:
    """Display name of a run's verifier; `counterpart` depends on the generator, so its checkpoint's name is shown."""
    if run.verifier == "counterpart":
        return run.verifier_checkpoint.replace(":", "/").rpartition("/")[2]
    return verifier_name(run.verifier)


def judge_label(judge: str) -> str:
    """Display name of a judge, such as `panel: GPT-5.2` of a panel's member; an unknown name is shown as it is."""
    return ": ".join(JUDGE_NAMES.get(name, name) for name in judge.split(": "))


def plain_name(name: str) -> str:
    """A name of data or of an experiment without underscores, such as `word problems`."""
    return name.replace("_", " ")


def sort_names(names: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """Distinct names: known ones in their given order, then the others by `natural_key`."""
    return sorted(set(names), key=lambda name: order_key(name, known))


def order_key(name: str, known: Sequence[str]) -> tuple[Any, ...]:
    """Sort key that puts known names first, and a sum of rewards behind its first member."""
    first = name.split("+")[0] if is_sum(name) else name
    return (known.index(first) if first in known else len(known), natural_key(name))


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key that compares numbers in names by value, so that groups of 4 come before groups of 16."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name)
    return tuple(float(part) if index % 2 else part for index, part in enumerate(parts))


def method_names(records: Sequence[RunRecord], raw: bool = False) -> dict[str, str]:
    """Display name of each run's method by run id, such as `CME (dense)`; if `raw`, `cme (granularity=token)`.

    The brackets hold the verifier, the experiment or the settings that differ between otherwise comparable runs.
    """
    names = {}
    for runs in group_by(records, lambda run: (run.scale, reward_or_label(run))).values():
        comparable = group_by(runs, attrgetter("family", "regime", "judge")).values()
        several_verifiers = any(len({run.verifier for run in peers}) > 1 for peers in comparable)
        fields = varied_fields(runs, "verifier", "experiment")
        several_experiments = varied_fields(runs, "verifier") != fields
        for run in runs:
            settings = result_settings(run)
            details = [run.verifier if raw else verifier_name(run.verifier)] if several_verifiers else []
            if several_experiments and run.experiment is not None:
                details.append(run.experiment if raw else plain_name(run.experiment))
            named = () if raw or not is_sum(run.reward) else WEIGHTS  # in the name of a sum already
            details += [
                setting_label(field, settings.get(field, ABSENT), raw)
                for field in sorted(fields)
                if not field.startswith(named)
            ]
            name = reward_or_label(run) if raw or run.scale == "imported" else reward_name(run)
            names[run.run_id] = add_details(name, [detail for detail in details if detail])
    return names


def varied_fields(runs: Iterable[RunRecord], *by: str) -> set[str]:
    """Configuration fields whose value differs between runs of the same family, regime, judge and `by`."""
    varied = set()
    for peers in group_by(runs, attrgetter("family", "regime", "judge", *by)).values():
        settings = [result_settings(run) for run in peers]
        for field in set().union(*settings):
            if len({values.get(field, ABSENT) for values in settings}) > 1:
                varied.add(field)
    return varied


def training_names(records: Sequence[RunRecord]) -> dict[str, str]:
    """Name of each run's method by run id for training curves, which runs with different judges can share.

    It is that of `method_names`, which compares runs with one judge. Where runs with different judges were trained in
    different ways, brackets hold their verifier if it differs, and their judge if none of their trainings is the same.
    """
    names = method_names(records)
    for runs in group_by(records, lambda run: (run.scale, names[run.run_id])).values():
        places = group_by(runs, attrgetter("family", "regime")).values()
        several_verifiers = any(len(set(map(verifier_of, place))) > 1 for place in places)
        alike = group_by(runs, lambda run: (run.family, run.regime, verifier_of(run))).values()
        several_trainings = any(
            all(one.history != other.history for one in of_one for other in of_other)
            for peers in alike
            for of_one, of_other in combinations(group_by(peers, attrgetter("judge")).values(), 2)
        )
        for run in runs:
            details = [verifier_of(run)] if several_verifiers else []
            details += [f"judge: {judge_label(run.judge)}"] if several_trainings else []
            names[run.run_id] = add_details(names[run.run_id], details)
    return names


def reward_or_label(record: RunRecord) -> str:
    """The reward of a run; of imported outputs, the label of those that stand in the policy's place."""
    if record.scale != "imported":
        return record.reward
    label: str = record.config.get("imported", {}).get("policy", record.reward)
    return label


def setting_label(field: str, value: str, raw: bool = False) -> str:
    """A setting as a detail of a method's name; empty for the usual granularity of CME."""
    if field == "reward.granularity" and value in GRANULARITY and not raw:
        return GRANULARITY[value]
    if field == "reward.ensemble" and not raw:
        return value
    if field == "scale.build" and not raw:
        return f"build {value}"
    return f"{field.removeprefix('reward.')}={value}"


def add_details(name: str, details: Sequence[str]) -> str:
    """The name with details in brackets; brackets that it already ends with are extended."""
    if not details:
        return name
    start = f"{name[:-1]}, " if name.endswith(")") else f"{name} ("
    return f"{start}{', '.join(details)})"


def result_settings(record: RunRecord | SanityRecord) -> dict[str, str]:
    """A record's configuration by dotted field, without seeds and without fields that do not affect results."""
    left_out = tuple(f"{path}." for path in ("seed", "reward.seed", *(record.neutral or ())))
    return {
        field: value for field, value in flatten_config(record.config) if not f"{field}.".startswith(left_out)
    }


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name and printed value of each field of a nested configuration."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten_config(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

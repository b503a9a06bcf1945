"""What to call a training method, and in which order to show scales, regimes and rewards.

A method is a reward; where otherwise equal runs differ in more than the seed, the name says in what: the
verifier, the experiment, or the fields of the configuration. So settings are never pooled unseen.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from cme.records import RunRecord

SCALES = ("miniature", "laptop", "paper")
REGIMES = ("pretrained", "sft", "instruct")
REWARDS = (
    "cme",
    "best_of_n_cme",
    "reverse_kl",
    "sft",
    "majority_vote",
    "semantic_entropy",
    "self_certainty",
    "token_entropy",
    "token_entropy_last",
    "token_entropy_format",
    "self_likelihood",
    "length",
    "format",
    "random",
    "dpo",
    "ground_truth",
)

# Fields that name or place a run and change nothing in it, as `experiments.config.identity` has them.
NEUTRAL = (
    "family",
    "regime",
    "verifier",
    "experiment",
    "preset",
    "plan",
    "tracker",
    "fail_fast",
    "checkpoint",
    "results_dir",
    "evaluation.batch_size",
    "evaluation.comparators",
    "scale.reference",
    "capabilities.batch_size",
    "selection.keep",
    "scoring.batch_tokens",
    "reward.batch_tokens",
    "reward.device",
    "trainer.vllm_mode",
    "trainer.vllm_server_base_url",
    "trainer.vllm_gpu_memory_utilization",
    "trainer.vllm_tensor_parallel_size",
    "judge.base_url",
    "judge.api_key_variable",
    "judge.usd_per_million_input",
    "judge.usd_per_million_output",
    "judge.max_calls",
    "judge.max_usd",
    "judge.concurrency",
    "judge.timeout",
    "judge.retries",
)
ABSENT = "absent"


def sort_names(names: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """The distinct names: known ones first in their given order, then the others alphabetically, numbers by value."""
    return sorted(set(names), key=lambda name: order_key(name, known))


def order_key(name: str, known: Sequence[str]) -> tuple[Any, ...]:
    """Sort key that puts known names first."""
    return (known.index(name) if name in known else len(known), natural_key(name))


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key of names that have numbers in them: groups of 4 come before groups of 16."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name)
    return tuple(float(part) if index % 2 else part for index, part in enumerate(parts))


def method_names(records: Sequence[RunRecord]) -> dict[str, str]:
    """Name of each run's method, by run id."""
    same_reward: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        same_reward[record.scale, record.reward].append(record)
    return {run_id: name for runs in same_reward.values() for run_id, name in distinguished(runs).items()}


def distinguished(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Names of runs of one scale and reward, with whatever tells them apart."""
    several_verifiers = any(len({run.verifier for run in peers}) > 1 for peers in alike(runs))
    fields = varied_fields(alike(runs, "verifier", "experiment"))
    several_settings = varied_fields(alike(runs, "verifier")) != fields
    names = {}
    for run in runs:
        settings = result_settings(run)
        details = [run.verifier] if several_verifiers else []
        if several_settings and run.experiment is not None:
            details.append(run.experiment)
        details += [
            f"{field.removeprefix('reward.')}={settings.get(field, ABSENT)}" for field in sorted(fields)
        ]
        names[run.run_id] = f"{run.reward} ({', '.join(details)})" if details else run.reward
    return names


def alike(runs: Iterable[RunRecord], *more: str) -> list[list[RunRecord]]:
    """The runs grouped by family, regime, judge and the further fields given."""
    groups: dict[tuple[Any, ...], list[RunRecord]] = defaultdict(list)
    for run in runs:
        groups[tuple(getattr(run, field) for field in ("family", "regime", "judge", *more))].append(run)
    return list(groups.values())


def varied_fields(groups: Iterable[Sequence[RunRecord]]) -> set[str]:
    """Configuration fields whose value differs within any of the groups."""
    varied = set()
    for group in groups:
        settings = [result_settings(run) for run in group]
        for field in set().union(*settings):
            if len({values.get(field, ABSENT) for values in settings}) > 1:
                varied.add(field)
    return varied


def result_settings(run: RunRecord) -> dict[str, str]:
    """A run's configuration by dotted field, without seeds and without what changes nothing in it."""
    return {
        field: value
        for field, value in flatten_config(run.config)
        if field not in ("seed", "reward.seed") and not is_neutral(field)
    }


@cache  # the runs have the same few fields
def is_neutral(field: str) -> bool:
    """Whether a field of the configuration changes nothing in a run."""
    return any(f"{alone(field)}.".startswith(f"{name}.") for name in NEUTRAL)


def alone(field: str) -> str:
    """The field of a single judge that one of a panel's member or of selection's judge is like; any other as it is."""
    return re.sub(r"^(selection\.)?judge\.(members\.[^.]+\.)?", "judge.", field)


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name and printed value of every field of a nested configuration."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten_config(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

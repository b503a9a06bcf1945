"""The small runs, and the moments at which each of them is killed."""

import random
from pathlib import Path
from typing import Any

from .trials import Moment, Twin

DATA = ("data.train_prompts=48", "data.eval_prompts=16", "evaluation.batch_size=4")
SMALL = (
    *DATA,
    "trainer.max_steps=8",
    "trainer.per_device_train_batch_size=16",
    "monitor_every=2",
    "checkpoint.every=2",
)
TWINS: dict[str, tuple[str, ...]] = {
    "cme": SMALL,
    "cme, dense": (*SMALL, "reward.granularity=token", "family=llama"),
    "random": (*SMALL, "reward=random", "family=gemma"),
    "majority vote": (*SMALL, "reward=majority_vote", "data=arithmetic"),
    "cme, instruct": (*SMALL, "regime=instruct", "family=olmo", "seed=3"),
    "dpo": (*SMALL, "trainer=dpo"),
    "sft": (*SMALL, "trainer=sft"),
    "comparators": (*SMALL, "comparators=paper"),
    "best of n": (*DATA, "trainer=best_of_n"),
    "selection": (*SMALL, "selection.every=2", "selection.prompts=8"),
}


def twins(work: Path, names: list[str] | None = None) -> list[Twin]:
    """The undisturbed runs, each with a separate folder of results, still to be run."""
    return [
        Twin(name, words, work / "twins" / name.replace(", ", "-").replace(" ", "-") / "results")
        for name, words in TWINS.items()
        if name in (names or TWINS)
    ]


def _kill(name: str, on: str, path: str, when: str, call: int = 1) -> Moment:
    fault: dict[str, Any] = {"on": on, "path": path, "call": call, "when": when, "fault": "kill"}
    return Moment(name, fault=fault)


def any_time(draw: random.Random) -> Moment:
    """Any time from the process's start, imports included, to its end."""
    return Moment("any time", draw.uniform(0.05, 0.9), "start")


def at_work(draw: random.Random) -> Moment:
    """Any time from when the run holds its lock."""
    return Moment("at work", draw.uniform(0.0, 0.9), "lock")


def once_more(draw: random.Random) -> Moment:
    """A second kill, earlier: less is left to do."""
    return Moment("again at work", draw.uniform(0.0, 0.4), "lock")


def checkpoint(twin: Twin, number: int, draw: random.Random) -> Moment:
    """While a checkpoint is saved, or the samples of a run that trains nothing."""
    if twin.name == "best of n":
        return _kill("samples, half written", "sync", "*/.samples-*.json.*", "half")
    if twin.name == "selection":
        return _kill(
            "saved policy, half written", "write", "*/step-*/model.safetensors", "half", draw.randint(1, 3)
        )
    saved = draw.randint(1, 3)  # checkpoints are saved after steps 2, 4 and 6
    variants = [
        _kill("checkpoint, half written", "write", "*/resume/checkpoint-*/model.safetensors", "half", saved),
        _kill("checkpoint's optimizer, half written", "sync", "*/resume/*/optimizer.pt", "half", saved),
        _kill("checkpoint's marker, half written", "sync", "*/.whole.json.*", "half", saved),
        _kill("checkpoint's marker's rename, after", "rename", "*/whole.json", "after", saved),
        _kill("old checkpoint, half deleted", "remove", "*/checkpoint-2/*", "after", draw.randint(1, 4)),
        _kill("policy, half written", "write", "*/checkpoint.partial/model.safetensors", "half"),
        _kill("policy's rename, before", "rename", "*/checkpoint", "before"),
        _kill("policy's rename, after", "rename", "*/checkpoint", "after"),
    ]
    return variants[number % len(variants)]


def generation(draw: random.Random) -> Moment:
    """While a batch of responses is written."""
    return _kill(
        "batch of responses, half written", "write", "*.unfinished.jsonl", "half", draw.randint(1, 8)
    )


def verdict(twin: Twin, number: int, draw: random.Random) -> Moment:
    """While a line of the log of verdicts is written, or just before or after it."""
    when = ("half", "before", "after", "half")[number % 4]
    return _kill(f"verdict, {when}", "write", "*/verdicts.jsonl", when, draw.randint(1, twin.verdicts))


def record(number: int) -> Moment:
    """While the record is written, or before or after its rename."""
    variants = [
        _kill("record, half written", "sync", "*/.record.json.*", "half"),
        _kill("record's rename, before", "rename", "*/record.json", "before"),
        _kill("record's rename, after", "rename", "*/record.json", "after"),
    ]
    return variants[number % len(variants)]


def plan(twins: list[Twin], runs: int, seed: int) -> list[tuple[Twin, list[Moment]]]:
    """Which run is killed when: each twin at any time, twice, then in its checkpoint, a verdict and its record."""
    draw = random.Random(seed)
    kinds = [
        lambda twin, n: [any_time(draw)],
        lambda twin, n: [generation(draw) if n % 2 else at_work(draw), once_more(draw)],
        lambda twin, n: [checkpoint(twin, n, draw)],
        lambda twin, n: [verdict(twin, n, draw)] + [once_more(draw)] * (n % 3 == 0),
        lambda twin, n: [record(n)],
    ]
    return [
        (twins[i % len(twins)], kinds[i // len(twins) % len(kinds)](twins[i % len(twins)], i))
        for i in range(runs)
    ]

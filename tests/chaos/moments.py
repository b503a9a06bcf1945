"""The small runs, and the moments at which each of them is killed."""

import random
from pathlib import Path

from .trials import Moment, Twin

DATA = ("data.train_prompts=48", "data.eval_prompts=16", "evaluation.batch_size=4")
SMALL = (
    *(*DATA, "trainer.max_steps=8", "trainer.per_device_train_batch_size=16", "monitor_every=2"),
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


def plan(twins: list[Twin], runs: int, seed: int) -> list[tuple[Twin, list[Moment]]]:
    """Which run is killed when: each twin at any time, twice, then in its checkpoint, a verdict and its record."""
    draw = random.Random(seed)
    planned = []
    for i in range(runs):
        twin = twins[i % len(twins)]
        match i // len(twins) % 5:
            case 0:  # any time of the process, imports included
                moments = [Moment("any time", draw.uniform(0.05, 0.9), "start")]
            case 1:
                at_work = Moment("at work", draw.uniform(0.0, 0.9)) if i % 2 == 0 else _in_responses(draw)
                moments = [at_work, _again(draw)]
            case 2:
                moments = [_in_checkpoint(twin, i, draw)]
            case 3:
                verdict, again = _in_verdict(twin, i, draw), _again(draw)
                moments = [verdict, again] if i % 3 == 0 else [verdict]
            case _:
                moments = [_in_record(i)]
        planned.append((twin, moments))
    return planned


def _kill(name: str, on: str, path: str, when: str, call: int = 1) -> Moment:
    return Moment(name, fault={"on": on, "path": path, "call": call, "when": when, "fault": "kill"})


def _again(draw: random.Random) -> Moment:
    """A second kill, earlier: less is left to do."""
    return Moment("again at work", draw.uniform(0.0, 0.4))


def _in_responses(draw: random.Random) -> Moment:
    """While a batch of responses is written."""
    call = draw.randint(1, 8)
    return _kill("batch of responses, half written", "write", "*.unfinished.jsonl", "half", call)


def _in_checkpoint(twin: Twin, number: int, draw: random.Random) -> Moment:
    """While a checkpoint is saved, or the samples of a run that trains nothing."""
    if twin.name == "best of n":
        return _kill("samples, half written", "sync", "*/.samples-*.json.*", "half")
    saved = draw.randint(1, 3)  # checkpoints are saved after steps 2, 4 and 6
    if twin.name == "selection":
        return _kill("saved policy, half written", "write", "*/step-*/model.safetensors", "half", saved)
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


def _in_verdict(twin: Twin, number: int, draw: random.Random) -> Moment:
    """While a line of the log of verdicts is written, or just before or after it."""
    when = ("half", "before", "after", "half")[number % 4]
    return _kill(f"verdict, {when}", "write", "*/verdicts.jsonl", when, draw.randint(1, twin.verdicts))


def _in_record(number: int) -> Moment:
    """While the record is written, or before or after its rename."""
    variants = [
        _kill("record, half written", "sync", "*/.record.json.*", "half"),
        _kill("record's rename, before", "rename", "*/record.json", "before"),
        _kill("record's rename, after", "rename", "*/record.json", "after"),
    ]
    return variants[number % len(variants)]

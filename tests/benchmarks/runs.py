"""GRPO trainings on record beside what the cost model says of them on a machine of given speeds.

Part of `python -m tests.benchmarks.cost_model --table FILE --runs FOLDER`.
"""

import json
import statistics
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from cme.models import chat
from experiments.plan import cost_model
from experiments.plan.cost_model import Batch, Machine
from experiments.plan.model_sizes import Size
from tests.benchmarks.workload import load, size_of


def table(folder: Path, machine: Machine) -> str:
    """GRPO trainings on record, which other work accompanied, beside what the model says of them on this machine."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for path in sorted(folder.rglob("*.record.json")):
        record = json.loads(path.read_text())
        if record["config"]["trainer"].get("method", "grpo") != "grpo":
            continue
        steps = len(record["history"]["step"])
        kind = (
            record["generator_checkpoint"] if record["scale"] != "miniature" else "the four of the miniature"
        )
        found[record["scale"], kind].append((record["seconds"]["train"] / steps, _of_run(machine, record)))
    lines = [
        "| scale | generator | runs | measured, s a step: median [20 %, 80 %] | predicted | predicted / measured |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (scale, kind), pairs in found.items():
        took = sorted(took for took, _ in pairs)
        fifth, middle = len(took) // 5, statistics.median(took)
        said, ratio = (
            statistics.median(s for _, s in pairs),
            statistics.median(s / t for t, s in pairs),
        )
        lines.append(
            f"| {scale} | {kind} | {len(took)} | {middle:.3g} [{took[fifth]:.3g}, {took[-1 - fifth]:.3g}] | "
            f"{said:.3g} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def _of_run(machine: Machine, record: dict[str, Any]) -> float:
    """Seconds of a step: generation, the reward's verifier, the monitors' passes, update."""
    trainer, reward, length = (
        record["config"]["trainer"],
        record["config"]["reward"],
        statistics.mean(record["history"]["length"]),
    )
    rows = trainer["per_device_train_batch_size"] * trainer["steps_per_generation"]
    policy, tokenizer = _known(record["generator_checkpoint"])
    prompt = len(chat.prompt_ids(tokenizer, record["pairs"][0]["prompt"]))
    batch = Batch(rows, rows // trainer["num_generations"], prompt, length)
    verifiers = (
        [reward["verifier"]] if isinstance(reward.get("verifier"), str) else reward.get("verifier") or []
    )
    watching = [policy, policy, *([_known(held)[0]] if (held := record["heldout_checkpoint"]) else [])]
    readers = [(_known(name)[0], 1.0) for name in verifiers] + [
        (size, 1 / record["config"]["monitor_every"]) for size in watching
    ]
    return (
        cost_model.decoding(machine, policy, rows, prompt, trainer["max_completion_length"])
        + sum(share * cost_model.scoring(machine, size, batch, 4, 4096) for size, share in readers)
        + cost_model.updating(
            machine,
            policy,
            Batch(rows, rows, prompt, length),
            trainer["per_device_train_batch_size"],
        )
    )


@cache
def _known(name: str) -> tuple[Size, PreTrainedTokenizerBase]:
    """A checkpoint's size and tokenizer; random weights are of the shape of others."""
    model, tokenizer = load(name.removeprefix("random:"), "float32", "cpu")
    return size_of(model), tokenizer

"""CPU seconds of the parts of a GRPO step at laptop scale, in float32 and with `bf16`.

    python -m tests.benchmarks.step --rounds 3 --verifier package:smollm2-135m-instruct

SmolLM2-135M-Instruct, two prompts with eight completions of 64 tokens each, one thread. The precisions take turns
within a round, in one process; each trains one step from the untrained model. CPU time, since it depends less on other
work than wall-clock time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from cme.checkpoints import load
from cme.data.instruction_following import load_prompts
from cme.rewards import CrossModelEntropy
from cme.training import history
from cme.training.collapse import CollapseGuard
from cme.training.grpo import train_grpo
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors

GENERATOR = "package:smollm2-135m-instruct"
SETTINGS = {
    "max_steps": 1,
    "per_device_train_batch_size": 16,
    "num_generations": 8,
    "max_completion_length": 64,
    "learning_rate": 3e-5,
    "beta": 0.0,
    "temperature": 1.0,
    "top_k": 0,
    "loss_type": "dapo",
}
DTYPES = {"float32": False, "bfloat16": True}
"""The verifier's data type, and whether the policy trains with `bf16`."""


def main() -> None:
    """Print the seconds of each step and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--verifier", default="package:smollm2-135m-instruct")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vars(history)["time"] = SimpleNamespace(perf_counter=time.process_time)
    prompts = load_prompts("train", 320, 0)
    rewards = {
        dtype: CrossModelEntropy(
            options.verifier, dtype=dtype, max_prompt_tokens=256, max_response_tokens=128
        )
        for dtype in DTYPES
    }
    start = load(GENERATOR)
    found: dict[str, list[dict[str, float]]] = {dtype: [] for dtype in DTYPES}
    for turn in range(options.rounds):
        for dtype, bf16 in DTYPES.items():
            with tempfile.TemporaryDirectory() as folder:
                result = train_grpo(
                    load(GENERATOR),
                    prompts,
                    rewards[dtype],
                    Monitors(start, None, None),
                    SETTINGS | {"bf16": bf16},
                    CollapseGuard(patience=2, patience_groups=1, max_unscored=1.0),
                    TrainingJob(0, Path(folder), quiet=True),
                )
            found[dtype].append(dict(result.seconds))
            print(turn, dtype, show(found[dtype][-1]), flush=True)
    for dtype, rows in found.items():
        print("median", dtype, show({part: statistics.median(r[part] for r in rows) for part in rows[0]}))


def show(seconds: dict[str, float]) -> str:
    """Seconds by part and together."""
    return ", ".join(f"{part} {s:.1f}" for part, s in (seconds | {"sum": sum(seconds.values())}).items())


if __name__ == "__main__":
    main()

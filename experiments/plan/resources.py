"""The memory and time of each cell at scale=laptop, printed before anything loads; too little memory is refused.

Memory is that of `experiments.plan.memory`, and 1 GB for the libraries. Time counts floating-point operations: for each
token 2 per parameter, 6 where it is trained on.
"""

import sys
from collections.abc import Sequence

from cme.runtime import space
from experiments.config.runs import Run
from experiments.plan.memory import GIB, estimate_memory, size_of
from experiments.plan.plan import Tokens, bounds, count_tokens
from experiments.run import cell
from experiments.run.store import trains

OPERATIONS = {"generated": 2, "scored": 2, "trained on": 6}
SPEEDS = {
    "float32": {"generated": 32e9, "scored": 155e9, "trained on": 150e9},
    "bfloat16": {"generated": 50e9, "scored": 410e9, "trained on": 245e9},
}
"""Operations per second, as SmolLM2-135M, Qwen2.5-Coder-0.5B and 1.5B reach them on two cores with AVX512-BF16."""
LIBRARIES = 1e9  # bytes
LARGE, SMALL = "package:qwen2.5-coder-1.5b-instruct", "qwen_coder_0_5b"


def announce(runs: Sequence[Run]) -> None:
    """Print memory and time of the cells that will train at scale=laptop.

    Raises Unavailable for the first one that needs more memory than is free.
    """
    counted: set[str] = set()
    for run in runs:
        if run.scale.name != "laptop" or not trains(run) or cell.is_done(run):
            continue
        longest, expected = bounds(run)
        parts = [part for part in count_tokens(run, expected) if part.shared_by not in counted]
        counted |= {part.shared_by for part in parts if part.shared_by is not None}
        seconds = sum(_seconds(run, part) for part in parts)
        memory = estimate_memory(run, longest.prompt, longest.response)
        if memory is None:  # a model of the user's own
            continue
        needed = memory * GIB + LIBRARIES
        print(
            f"{run.run_id}: about {needed / space.GB:.1f} GB of memory at most and {seconds / 60:.0f} min on two cores",
            file=sys.stderr,
        )
        space.check_memory(needed, run.run_id, f"end other programs, or add {' or '.join(_remedies(run))}")


def _seconds(run: Run, tokens: Tokens) -> float:
    """The time of some tokens; 0 for a model of unknown size. The policy computes in float32."""
    size = size_of(tokens.checkpoint)
    dtype = "float32" if tokens.checkpoint == run.generator or run.scoring.dtype == "float32" else "bfloat16"
    operations = tokens.count * OPERATIONS[tokens.kind] * (0 if size is None else size.parameters)
    return operations / SPEEDS[dtype][tokens.kind]


def _remedies(run: Run) -> list[str]:
    """Settings that take less memory; each makes another run."""
    smaller = [f"verifier={SMALL}"] if run.verifier.checkpoint == LARGE else []
    narrower = ["scoring.dtype=bfloat16"] if run.scoring.dtype == "float32" else []
    return [*smaller, *narrower, "adapter=lora"]

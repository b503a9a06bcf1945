"""Tables and figure of docs/scaling.md: what a step takes and holds from 135M to 70B parameters.

    python -m tests.benchmarks.scaling --figure docs/scaling.png

Computed by experiments/plan/cost_model.py, not measured: the settings of the paper's instruct cells (8 completions a
prompt, KL penalty) with its verifier of 4B, and the lengths that `plan=true` expects.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from experiments.plan.cost_model import (
    H100,
    UPDATE,
    VLLM,
    Batch,
    Machine,
    adapters,
    decoding,
    forward,
    scoring,
    training_bytes,
)
from experiments.plan.model_sizes import (
    GEMMA3_4,
    GEMMA4_E4,
    LLAMA_1,
    LLAMA_8,
    LLAMA_70,
    QWEN_05,
    QWEN_32,
    SMOLLM2_135M,
    Size,
)
from experiments.plan.workload import LONGEST, PROMPT, RESPONSE

GENERATORS = {
    "0.135B": SMOLLM2_135M,
    "0.5B": QWEN_05,
    "1.2B": LLAMA_1,
    "3.9B": GEMMA3_4,
    "8B": LLAMA_8,
    "32B": QWEN_32,
    "70B": LLAMA_70,
}
VERIFIER = GEMMA4_E4
GROUP = 8
RANK = 16  # of LoRA
LONG = 2048  # tokens of the longest response: what memory must have room for
DEVICE = 80e9  # bytes of an H100
USABLE = 0.9  # of them
MACHINE = 8  # GPUs in one
INSIDE, BETWEEN = (
    450e9,
    50e9,
)  # bytes a second a GPU gets from others: NVLink, a 400 Gb/s network; both as stated


@dataclass(frozen=True)
class Step:
    """GPUs, prompts of a step, and the seconds of its parts."""

    devices: int
    prompts: int
    generation: float
    scoring: float
    update: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.generation + self.scoring + self.update


def devices(policy: Size) -> int:
    """The least power of two of H100s that hold the run, all of it spread evenly over them."""
    held = sum(training_bytes(policy, micro=1, prompt=512, response=LONG).values())
    held += 2 * 4 * policy.parameters + 2 * VERIFIER.parameters
    return int(2 ** math.ceil(math.log2(max(1.0, held / (USABLE * DEVICE)))))


def step(policy: Size, *, vllm: bool) -> Step:
    """One step, every GPU with at least one completion; the weights of policy and reference spread over all GPUs."""
    count = devices(policy)
    prompts = max(1, count // GROUP)
    own = GROUP * prompts // count  # completions of one GPU
    gather = 2 * policy.parameters * (count - 1) / count / (INSIDE if count <= MACHINE else BETWEEN)
    one, longest = Batch(own, 1, PROMPT, RESPONSE), LONGEST * RESPONSE
    if vllm:
        together = min(count, MACHINE)  # GPUs that hold one copy; each copy answers its share
        engine = _shared(VLLM, together)
        generation = decoding(engine, policy, own * together, PROMPT, longest)
    else:
        alone = decoding(H100, policy, own, PROMPT, longest)
        generation = max(alone, (longest + 1) * gather)
    passed = max(forward(H100, policy, Batch(1, 1, PROMPT, RESPONSE), 1), gather)
    back = max(
        3 * forward(H100, policy, Batch(1, 1, PROMPT, RESPONSE), 1), 2 * gather
    )  # gathered again, reduced
    update = own * (passed + back) + UPDATE * policy.parameters / count / H100.bandwidth
    frozen = scoring(H100, VERIFIER, one, 2, 16_384) + own * passed  # verifier and reference
    return Step(count, prompts, generation, frozen, update)


def _shared(machine: Machine, count: int) -> Machine:
    """Tensor parallelism: every GPU has its part of each layer."""
    return Machine(
        machine.name,
        machine.flops * count,
        machine.bandwidth * count,
        machine.layer,
        machine.asynchronous,
        machine.checkpointed,
        machine.recast,
    )


def steps_table() -> str:
    """Seconds and shares of a step, with transformers' generation and with vLLM's."""
    found = [
        "| generator | H100s | prompts a step | engine | generation, s | scoring, s | update, s | shares, % | "
        "prompts an hour and GPU |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for name, policy in GENERATORS.items():
        for vllm in (False, True):
            one = step(policy, vllm=vllm)
            parts = (one.generation, one.scoring, one.update)
            shares = " / ".join(f"{100 * part / one.seconds:.0f}" for part in parts)
            found.append(
                f"| {name} | {one.devices} | {one.prompts} | {'vLLM' if vllm else 'transformers'} | "
                + " | ".join(map(_short, parts))
                + f" | {shares} | {_short(3600 * one.prompts / one.seconds / one.devices)} |"
            )
    return "\n".join(found)


def _short(value: float) -> str:
    """Two digits that say something."""
    return f"{float(f'{value:.2g}'):.0f}" if value >= 10 else f"{value:.2g}"


def held(policy: Size, *, lora: bool, eight_bit: bool, count: int) -> float:
    """Bytes on the fullest GPU, as the code holds them: start and verifier whole on every one, the rest spread.

    With LoRA the reference is the policy without its adapters, nothing is spread, and a copy is merged to be saved;
    where the policy is spread, monitors gather it whole for a moment.
    """
    own = adapters(policy, RANK) if lora else None
    weights = 4.0 * policy.parameters
    parts = training_bytes(policy, micro=1, prompt=512, response=LONG, adapters=own)
    passing = parts.pop("activations") + parts.pop("logits")
    if lora or count > 1:
        passing = max(passing, weights)
    training = sum(parts.values()) + (0 if lora else weights)  # the reference
    frozen = weights + (1 if eight_bit else 2) * VERIFIER.parameters  # the start and the verifier
    return training / count + passing + frozen


def memory_table() -> str:
    """GB on the fullest GPU by generator and way of training; in bold what fits on 24, 80 and 8 x 80 GB."""
    ways = {
        "all weights": {"lora": False, "eight_bit": False, "count": 1},
        "all weights, 8-bit verifier": {"lora": False, "eight_bit": True, "count": 1},
        "LoRA": {"lora": True, "eight_bit": False, "count": 1},
        "LoRA, 8-bit verifier": {"lora": True, "eight_bit": True, "count": 1},
        "all weights, FSDP over 8": {"lora": False, "eight_bit": False, "count": 8},
    }
    found = [f"| generator | {' | '.join(ways)} |", f"| --- |{' ---: |' * len(ways)}"]
    for name, policy in GENERATORS.items():
        need = {way: held(policy, **how) / 1e9 for way, how in ways.items()}  # type: ignore[arg-type]
        found.append(f"| {name} | {' | '.join(_fits(gb) for gb in need.values())} |")
    return "\n".join(found)


def _fits(gb: float) -> str:
    """With the least card that has room, 10 % left free."""
    card = next((size for size in (24, 80) if gb <= USABLE * size), None)
    return f"{gb:.0f}: -" if card is None else f"{gb:.0f}: **{card} GB**"


def figure(path: Path) -> None:
    """Shares of a step by generator, a panel an engine."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"generation": "#4477aa", "scoring": "#ddaa33", "update": "#bb5566"}
    drawn, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, vllm in zip(axes, (False, True), strict=True):
        for row, policy in enumerate(GENERATORS.values()):
            one, left = step(policy, vllm=vllm), 0.0
            for part, colour in colours.items():
                share = 100 * getattr(one, part) / one.seconds
                axis.barh(row, share, left=left, color=colour, label=part if row == 0 else None)
                left += share
            axis.text(101, row, f"{_short(one.seconds / one.prompts)} s", va="center", fontsize=8)
        axis.set_title("generation by vLLM" if vllm else "generation by transformers", fontsize=10)
        axis.set_xlim(0, 114)
        axis.set_xticks(range(0, 101, 25))
        axis.set_xlabel("share of a step, %")
        axis.spines[["top", "right"]].set_visible(False)
    names = [f"{name} on {step(policy, vllm=True).devices}" for name, policy in GENERATORS.items()]
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].set_ylabel("generator on H100s")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    drawn.suptitle(
        "Computed, not measured: where a step's time goes; to the right, seconds a prompt", fontsize=10
    )
    drawn.savefig(path, dpi=150, metadata={"Software": None})


def main() -> None:
    """Print the tables; draw the figure where a file is named."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scaling", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    print(steps_table(), memory_table(), sep="\n\n")
    if options.figure:
        figure(options.figure)


if __name__ == "__main__":
    main()

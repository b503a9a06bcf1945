"""The cost model beside what the same machine takes: generation, scoring and update of one prompt's group.

    python -m tests.benchmarks.cost_model package:smollm2-135m-instruct --rounds 3 --out FILE    # measures, adds to
    FILE python -m tests.benchmarks.cost_model --table FILE                                           # model against
    measured
    python -m tests.benchmarks.cost_model --table FILE --runs results/reference                  # and the runs on
    record

A round times, one after the other, what the model is made of (a matrix product of the checkpoint's kind, a copy of
memory, the host's work for one layer) and then the three operations, so that a machine whose speed wanders hits all
of them alike. The prediction is of the round's own speeds; none of them is fitted to the operations. All of it on one
thread and in processor time, so that other work on the machine counts by the caches and the memory it takes alone.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from cme.scoring.token_scorer import TokenScorer
from experiments.plan import cost_model
from experiments.plan.cost_model import Batch, Machine
from experiments.plan.model_sizes import Size
from tests.benchmarks import runs
from tests.benchmarks.workload import load, size_of, workload

OPERATIONS = ("generation", "scoring", "update")
Seconds = dict[str, float]


def main() -> None:
    """Measure and add to the record, or print the table of one."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cost_model", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkpoint", nargs="?", help="a name of cme.checkpoints")
    parser.add_argument("--shape", default="64x32x8", help="PROMPTxRESPONSExGROUP in tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON lines, one a round, to which these are added")
    parser.add_argument("--table", type=Path, help="print the table of such a file, and measure nothing")
    parser.add_argument(
        "--runs", type=Path, help="with --table: predict the trainings of the records in a folder too"
    )
    options = parser.parse_args()
    if options.table:
        rows = [json.loads(line) for line in options.table.read_text().splitlines()]
        print(table(rows))
        if options.runs:
            print()
            print(runs.table(options.runs, cpu(**speeds(rows))))
        return
    if options.checkpoint is None:
        parser.error("name a checkpoint, or --table FILE")
    rows = []
    for row in measured(options.checkpoint, options.shape, options.rounds):
        rows.append(row)
        if options.out:  # at once: a long measurement that is cut off leaves what it has
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(table(rows))


def measured(name: str, shape: str, rounds: int) -> Iterator[dict[str, object]]:
    """One row a round: speeds of the machine, seconds measured and seconds predicted."""
    torch.set_num_threads(1)
    model, tokenizer = load(name, "float32", "cpu")
    work = workload(shape, tokenizer)
    [prompt], [responses] = work.prompts, work.groups
    batch = Batch(len(responses), 1, len(prompt), len(responses[0]))
    size, timed = size_of(model), _operations(model, prompt, responses)
    timed["scoring"]()  # on first use the scorer checks itself
    for _ in range(rounds):
        machine = this_machine(model)
        took = {operation: _seconds(call) for operation, call in timed.items()}
        yield {
            "model": name,
            "shape": shape,
            "machine": {
                "flops": machine.flops,
                "bandwidth": machine.bandwidth,
                "layer": machine.layer,
            },
            "measured": took,
            "predicted": predicted(machine, size, batch),
        }


def predicted(machine: Machine, size: Size, batch: Batch) -> Seconds:
    """What the cost model says of the three operations, in float32, the group in one micro-batch."""
    return {
        "generation": cost_model.decoding(machine, size, batch.rows, batch.prompt, batch.response),
        "scoring": cost_model.scoring(machine, size, batch, 4, 4096),
        "update": cost_model.updating(machine, size, batch, batch.rows),
    }


def this_machine(model: PreTrainedModel) -> Machine:
    """This CPU's speeds: of products of the model's kind, of copying memory, and of one layer without any work."""
    width = model.config.get_text_config().hidden_size
    return cpu(flops=_product_speed(width), bandwidth=_copy_speed(), layer=_layer_seconds())


def cpu(flops: float, bandwidth: float, layer: float) -> Machine:
    """A CPU of such speeds, in float32."""
    return Machine("this CPU", flops, bandwidth, layer, asynchronous=False, checkpointed=False, recast=4)


def _product_speed(width: int) -> float:
    left, right = torch.randn(512, width), torch.randn(width, 4 * width)
    return 2 * left.numel() * 4 * width / _median(lambda: left @ right, 9)


def _copy_speed() -> float:
    """Bytes read and written a second, of 256 MiB that no cache holds."""
    source = torch.ones(2**26)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _median(lambda: target.copy_(source), 9)


def _layer_seconds() -> float:
    """One token through a layer of width 64: nearly all of it is the host's. Two depths, so that the rest falls out."""

    def step(layers: int) -> float:
        shape = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 64}
        tiny = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **shape)).eval()
        with torch.no_grad():
            read = tiny(torch.ones(1, 8, dtype=torch.long), use_cache=True)
            new = torch.ones(1, 1, dtype=torch.long)
            return _median(lambda: tiny(new, past_key_values=read.past_key_values, use_cache=True), 20)

    return (step(12) - step(2)) / 10


def _operations(
    model: PreTrainedModel, prompt: list[int], responses: list[list[int]]
) -> dict[str, Callable[[], object]]:
    """Generation by transformers, the project's scorer, and one AdamW step on the responses' log-likelihood."""
    length, rows = len(responses[0]), len(responses)
    asked = torch.tensor([prompt] * rows)
    scorer = TokenScorer(model)
    whole = torch.tensor([[*prompt, *r] for r in responses])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0
    )  # moves nothing: every round has the same weights

    def generation() -> object:
        with torch.no_grad():
            return model.generate(
                asked,
                attention_mask=torch.ones_like(asked),
                do_sample=True,
                top_k=0,
                min_new_tokens=length,
                max_new_tokens=length,
            )

    def scoring() -> object:
        return scorer.score([prompt] * rows, responses)

    def update() -> None:
        model.requires_grad_(True)
        logits = model(whole, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
        targets = whole[:, -length:]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.requires_grad_(False)

    return {"generation": generation, "scoring": scoring, "update": update}


def _median(call: Callable[[], object], times: int) -> float:
    call()
    return statistics.median(_seconds(call) for _ in range(times))


def _seconds(call: Callable[[], object]) -> float:
    """Processor time of this process: of one thread, what the call takes where nothing else runs."""
    start = time.process_time()
    call()
    return time.process_time() - start


def table(rows: list[dict[str, object]]) -> str:
    """A line a model and operation: medians over its rounds, tokens a second, and how far off the model is."""
    groups: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        groups[str(row["model"]), str(row["shape"])].append(row)
    found = [
        "| model | prompt x response x group | operation | measured, s [least, most] | tokens/s | predicted, s | "
        "predicted / measured |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (name, shape), rounds in groups.items():
        _, response, group = map(int, shape.split("x"))
        for operation in OPERATIONS:
            took = [_of(row, "measured")[operation] for row in rounds]
            said = [_of(row, "predicted")[operation] for row in rounds]
            middle = statistics.median(took)
            ratio = statistics.median(a / b for a, b in zip(said, took, strict=True))
            found.append(
                f"| {name} | {shape} | {operation} | {middle:.3g} [{min(took):.3g}, {max(took):.3g}] | "
                f"{group * response / middle:.0f} | {statistics.median(said):.3g} | {ratio:.2f} |"
            )
    found_speeds = speeds(rows)
    return "\n".join(
        [
            *found,
            "",
            f"machine, medians: {found_speeds['flops'] / 1e9:.0f} GFLOP/s, {found_speeds['bandwidth'] / 1e9:.1f} GB/s, "
            f"{found_speeds['layer'] * 1e3:.2f} ms a layer; {len(rows)} rounds",
        ]
    )


def speeds(rows: list[dict[str, object]]) -> Seconds:
    """Medians of the machine's speeds over rounds."""
    names = ("flops", "bandwidth", "layer")
    return {name: statistics.median(_of(row, "machine")[name] for row in rows) for name in names}


def _of(row: dict[str, object], key: str) -> Seconds:
    value = row[key]
    assert isinstance(value, dict)
    return value


if __name__ == "__main__":
    main()

"""Time the scoring of groups of responses under a frozen model, and compare it with other methods.

    python -m tests.benchmarks.scorer --models package:smollm2-135m-instruct --shapes 128x256x8,ragged --out scorer.json

The methods take turns: each round times every method once, in an order that rotates from round to round, and ratios
are taken within a round. A machine whose speed changes therefore affects all methods alike. docs/performance.md
explains the columns.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from cme.checkpoints import Checkpoint, load
from tests.benchmarks.methods import (
    METHODS,
    PAPER,
    UNSHARED,
    Scoring,
    Setting,
    Values,
    score_alone,
    score_groups,
)
from tests.benchmarks.workload import Workload, count_flops, make_workload

COLUMNS = [
    *("model", "shape", "method", "s per group, median [20 %, 80 %]", "rounds", "response tokens/s"),
    *("times as fast as `paper`", "times as fast as the best unshared", "peak extra memory, MiB"),
    *("difference, nats per token: largest", "mean", "share of the bound"),
]


@dataclass
class Row:
    """Measurements of one method on one model and shape.

    `seconds` are of all groups, one entry per round, None where the method was over its budget. Differences are
    absolute, in nats per token, from `paper` in float32.
    """

    method: str
    peak_bytes: int
    largest_difference: float
    mean_difference: float
    seconds: list[float | None] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """Seconds of the rounds in which the method was timed."""
        return [s for s in self.seconds if s is not None]


def main() -> None:
    """Measure what the command line names, write the record, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scorer")
    add = parser.add_argument
    add("--models", default="package:smollm2-135m-instruct,package:gemma-3-270m")
    add("--shapes", default="128x256x8,256x512x16,512x64x8,ragged", help="PROMPTxRESPONSExGROUP, or ragged")
    add("--methods", default="", help="parts of names of methods; `paper` is always measured; default: all")
    add("--repeats", type=int, default=5, help="timed rounds")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--dtype", default="float32")
    add("--out", type=Path, help="file of the JSON record")
    add("--budget", type=float, default=120.0, help="seconds per method after which it is timed no more")
    add("--batch-tokens", type=int, default=4096, help="limit of tokens in a forward pass of our scorer")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    record: dict[str, Any] = {
        "command": " ".join(["python -m tests.benchmarks.scorer", *sys.argv[1:]]),
        "environment": {
            "machine": next(x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "results": [],
    }
    for name in options.models.split(","):
        checkpoint = load(name, dtype=options.dtype, device=options.device)
        for shape in options.shapes.split(","):
            print(f"{name} {shape}", file=sys.stderr)
            with torch.no_grad():
                result = measure(checkpoint, make_workload(shape, checkpoint.tokenizer), options)
            record["results"].append({"model": name, "shape": shape, **result})
            if options.out:  # after every shape, so that an interrupted benchmark keeps its results
                options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(format_table(record))


def measure(checkpoint: Checkpoint, work: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the methods on one model and one workload: results and memory first, then the timed rounds."""
    model = checkpoint.model
    exact = model if model.dtype == torch.float32 else copy.deepcopy(model).float()
    reference = score_groups(score_alone, exact)(work.prompts, work.groups)
    setting = Setting(model, checkpoint.tokenizer, max(map(len, work.groups)), options.batch_tokens)
    parts = options.methods.split(",")
    chosen = [name for name in METHODS if name == PAPER or any(part in name for part in parts)]
    ready: dict[str, Scoring] = {}
    rows: dict[str, Row] = {}
    for name in chosen:
        ready[name] = METHODS[name](setting)
        ready[name]([p[:8] for p in work.prompts[:1]], [[r[:8] for r in work.groups[0]]])  # warm-up
        peak, scored = _peak(model.device, ready[name], work)
        if name == "lm-eval loglikelihood":  # it returns sums
            pairs = zip(scored, reference, strict=True)
            apart = torch.cat([(value - tokens.sum()) / len(tokens) for value, tokens in pairs]).abs()
        else:
            apart = (torch.cat(scored) - torch.cat(reference)).abs()
        rows[name] = Row(name, peak, float(apart.max()), float(apart.mean()))
    products = []
    for turn in range(options.repeats):
        products.append(_product_speed(model))
        shift = turn % len(chosen)
        for name in chosen[shift:] + chosen[:shift]:
            row = rows[name]
            over = sum(row.times) > options.budget and len(row.seconds) >= 2
            row.seconds.append(None if over else _seconds(lambda n=name: ready[n](work.prompts, work.groups)))
    bound = count_flops(model, work) / statistics.median(products)
    return summarize(rows, len(work.prompts), work.tokens, bound)


def _peak(device: torch.device, scoring: Scoring, work: Workload) -> tuple[int, Values]:
    """Peak bytes of tensors during one call, less those held before it, and what the call returned."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        scored = scoring(work.prompts, work.groups)
        return torch.cuda.max_memory_allocated() - before, scored
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        scored = scoring(work.prompts, work.groups)
    assert watched.profiler is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), default=0), scored


def _seconds(act: Callable[[], object]) -> float:
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    start = time.perf_counter()
    act()
    synchronize()
    return time.perf_counter() - start


def _product_speed(model: PreTrainedModel) -> float:
    """Operations per second of the model's kind of matrix product: the best of several."""
    device, width = model.device, model.get_output_embeddings().weight.shape[1]
    rows, times = (8192, 20) if device.type == "cuda" else (2048, 3)
    best = 0.0
    for inner, outer in ((width, 4 * width), (4 * width, width)):
        left = torch.randn(rows, inner, device=device, dtype=model.dtype)
        right = torch.randn(inner, outer, device=device, dtype=model.dtype)
        seconds = min(_seconds(lambda a=left, b=right: a @ b) for _ in range(times))
        best = max(best, 2 * rows * inner * outer / seconds)
    return best


def summarize(rows: dict[str, Row], groups: int, tokens: int, bound: float) -> dict[str, Any]:
    """The raw rounds and the numbers that the table shows. `bound`: the least seconds that a group can take."""
    medians = {name: statistics.median(row.times) for name, row in rows.items()}
    rivals = [name for name in UNSHARED if name in rows]
    best = min(rivals, key=medians.__getitem__) if rivals else None
    methods = []
    for name, row in rows.items():
        cuts = statistics.quantiles(row.times, n=5, method="inclusive") if row.times[1:] else row.times
        numbers = {
            "seconds_a_group": medians[name] / groups,
            "seconds_a_group_20": cuts[0] / groups,
            "seconds_a_group_80": cuts[-1] / groups,
            "tokens_a_second": tokens / medians[name],
            "times_as_fast_as_paper": _ratio(rows[PAPER], row),
            "times_as_fast_as_best_unshared": _ratio(rows[best], row) if best else None,
            "share_of_bound": bound / (medians[name] / groups),
        }
        methods.append(asdict(row) | numbers)
    return {"groups": groups, "response_tokens": tokens, "best_unshared": best, "methods": methods}


def _ratio(slow: Row, fast: Row) -> float:
    """How many times as fast as `slow`: the median over the rounds in which both were timed."""
    both = zip(slow.seconds, fast.seconds, strict=True)
    return statistics.median(a / b for a, b in both if a is not None and b is not None)


def format_table(record: dict[str, Any]) -> str:
    """One markdown table of all models and shapes of a record, with its command and machine above."""
    machine = ", ".join(f"{name} {value}" for name, value in record["environment"].items())
    lines = [f"`{record['command']}`: {machine}", "", f"| {' | '.join(COLUMNS)} |"]
    lines.append(f"| --- | --- | --- {'| ---: ' * (len(COLUMNS) - 3)}|")
    for result in record["results"]:
        for method in result["methods"]:
            name, best = method["method"], result["best_unshared"]
            low, middle, high = (method[f"seconds_a_group{part}"] for part in ("_20", "", "_80"))
            cells = [
                result["model"],
                result["shape"].replace("x", " x "),
                f"{name} °" if name == best else name,
                f"{middle:.3g} [{low:.3g}, {high:.3g}]",
                str(sum(s is not None for s in method["seconds"])),
                f"{method['tokens_a_second']:.0f}",
                f"{method['times_as_fast_as_paper']:.2f}",
                f"{method['times_as_fast_as_best_unshared']:.2f}" if best else "-",
                f"{method['peak_bytes'] / 2**20:.0f}",
                f"{method['largest_difference']:.1e}",
                f"{method['mean_difference']:.1e}",
                f"{method['share_of_bound']:.0%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

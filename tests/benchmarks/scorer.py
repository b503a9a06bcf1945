"""Time the scoring of groups of responses under a frozen model, and compare it with other methods.

    python -m tests.benchmarks.scorer --models package:smollm2-135m-instruct --shapes 128x256x8,ragged --out scorer.json

The methods take turns: each round times every method once, in an order that rotates from round to round, and ratios
are taken within a round. A machine whose speed changes therefore affects all methods alike.
"""

import argparse
import copy
import json
import logging
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.benchmarks.methods import METHODS, PAPER, UNSHARED, Method, Scoring, Setting, paper
from tests.benchmarks.workload import Workload, flops, load, workload

PEAK_FLOPS = 989e12
"""Dense bfloat16 operations per second that NVIDIA states for an H100 SXM (an H200 has the same)."""

COLUMNS = [
    *("model", "shape", "method", "s per group, median [20 %, 80 %]", "rounds", "response tokens/s"),
    *("times as fast as `paper`", "times as fast as the best unshared", "peak extra memory, MiB"),
    *("difference, nats per token: largest", "mean", "share of the bound", "MFU"),
]
NOTES = """\
Times are wall-clock medians over rounds; ratios are medians of the ratios within a round. "Best unshared" is
the fastest (by median) of the batched methods that compute the prompt once for every response, marked °. Peak
extra memory is measured in an untimed call. Differences are absolute, between token log-likelihoods and those
of `paper` in float32 with the same weights; lm-eval returns only sums, so its differences are those of each
response's mean. The bound is the operations that scoring needs at least (each prompt computed once, the head
on response rows only, sliding windows ignored) at the measured speed of the model's kind of matrix product.
MFU (bfloat16 on a GPU) is the same operations relative to 989 TFLOP/s."""


@dataclass
class Row:
    """Measurements of one method on one model and shape; `seconds` are of all groups, one entry per round."""

    method: str
    failure: str | None = None
    seconds: list[float | None] = field(default_factory=list)
    peak_bytes: int | None = None
    largest_difference: float | None = None
    mean_difference: float | None = None
    sums: bool = False

    @property
    def times(self) -> list[float]:
        """Seconds of the rounds in which the method was timed."""
        return [s for s in self.seconds if s is not None]


def main() -> None:
    """Measure what the command line names, write the record, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scorer", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--models", default="package:smollm2-135m-instruct,package:gemma-3-270m", help="or random:gemma3-4b")
    add("--shapes", default="128x256x8,256x512x16,512x64x8,ragged", help="PROMPTxRESPONSExGROUP, or ragged")
    add("--methods", help="parts of names of methods; `paper` is always measured; default: all")
    add("--repeats", type=int, default=5, help="timed rounds")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--dtype", help="default: float32 on a CPU and bfloat16 on a GPU")
    add("--out", type=Path, help="file of the JSON record")
    add("--budget", type=float, default=120.0, help="seconds per method after which it is timed no more")
    add("--batch-tokens", type=int, default=4096, help="limit of tokens in a forward pass of our scorer")
    options = parser.parse_args()
    options.dtype = options.dtype or ("bfloat16" if options.device.startswith("cuda") else "float32")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    given = {k.replace("_", "-"): v for k, v in vars(options).items() if v is not None and k != "out"}
    command = " ".join(["python -m tests.benchmarks.scorer", *(f"--{k} {v}" for k, v in given.items())])
    record: dict[str, Any] = {"command": command, "environment": _environment(options), "results": []}
    for name in options.models.split(","):
        model, tokenizer = load(name, options.dtype, options.device)
        for shape in options.shapes.split(","):
            print(f"{name} {shape}", file=sys.stderr)
            with torch.no_grad():
                result = measure(model, tokenizer, workload(shape, tokenizer), options)
            record["results"].append({"model": name, "shape": shape} | result)
            if options.out:  # after every shape, so that an interrupted benchmark keeps its results
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(record, indent=1) + "\n")
        del model
    print(table(record))


def _environment(options: argparse.Namespace) -> dict[str, str | int]:
    cpu = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "")
    cuda = options.device.startswith("cuda")
    return {
        "machine": torch.cuda.get_device_name() if cuda else cpu.partition(":")[2].strip(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "dtype": options.dtype,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Workload, options: argparse.Namespace
) -> dict[str, object]:
    """Measure every method on one model and one workload: results and memory first, then the timed rounds."""
    reference = paper(model, work.prompts, work.groups)
    if model.dtype != torch.float32:
        reference = paper(copy.deepcopy(model).float(), work.prompts, work.groups)
    setting = Setting(model, tokenizer, work.largest[2], options.batch_tokens)
    parts = options.methods.split(",") if options.methods else [""]
    methods = [m for m in METHODS if m is PAPER or any(part in m.name for part in parts)]
    rows = {m.name: Row(m.name, sums=m.sums) for m in methods}
    ready: dict[str, Scoring] = {}
    for method in methods:
        row = rows[method.name]
        row.failure = _too_large(method, model, work)
        if row.failure:
            continue
        try:
            scoring = method.prepare(setting)
            scoring([p[:8] for p in work.prompts[:1]], [[r[:8] for r in work.groups[0]]])  # warm-up
            row.peak_bytes, scored = _peak(model.device, scoring, work)
        except ImportError as error:
            row.failure = f"{error.name or error} is not installed"
            continue
        except torch.OutOfMemoryError:
            row.failure = "out of memory"
            continue
        if method.sums:
            pairs = zip(scored, reference, strict=True)
            apart = torch.cat([(value - tokens.sum()) / len(tokens) for value, tokens in pairs]).abs()
        else:
            apart = (torch.cat(scored) - torch.cat(reference)).abs()
        row.largest_difference, row.mean_difference = float(apart.max()), float(apart.mean())
        ready[method.name] = scoring
    products = []
    for turn in range(options.repeats):
        products.append(_product_speed(model))
        names = list(ready)
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            row = rows[name]
            over = sum(row.times) > options.budget and len(row.seconds) >= 2
            row.seconds.append(
                None if over else _timed(model.device, lambda n=name: ready[n](work.prompts, work.groups))
            )
        print(f"  round {turn + 1} of {options.repeats}", file=sys.stderr)
    return _summary(rows, model, work, products)


def _too_large(method: Method, model: PreTrainedModel, work: Workload) -> str | None:
    """Why a method is not tried on a CPU, where too large an allocation would end the process."""
    info = Path("/proc/meminfo")
    if model.device.type != "cpu" or not info.exists():
        return None
    needed = method.logits(*work.largest) * model.config.get_text_config().vocab_size * model.dtype.itemsize
    [line] = [line for line in info.read_text().splitlines() if line.startswith("MemAvailable")]
    return f"needs {needed / 2**30:.0f} GiB" if needed > 0.9 * 1024 * int(line.split()[1]) else None


def _peak(device: torch.device, scoring: Scoring, work: Workload) -> tuple[int, list[torch.Tensor]]:
    """Peak bytes of tensors during one call, less those held before it, and what the call returned."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        scored = scoring(work.prompts, work.groups)
        return torch.cuda.max_memory_allocated() - before, scored
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        scored = scoring(work.prompts, work.groups)
    assert watched.profiler is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), default=0), scored


def _timed(device: torch.device, act: Any) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _product_speed(model: PreTrainedModel) -> float:
    """Operations per second of the model's kind of matrix product: the best of several."""
    device, width = model.device, model.get_output_embeddings().weight.shape[1]
    rows, times = (8192, 20) if device.type == "cuda" else (2048, 3)
    best = 0.0
    for inner, outer in ((width, 4 * width), (4 * width, width)):
        left = torch.randn(rows, inner, device=device, dtype=model.dtype)
        right = torch.randn(inner, outer, device=device, dtype=model.dtype)
        seconds = min(_timed(device, lambda a=left, b=right: a @ b) for _ in range(times))
        best = max(best, 2 * rows * inner * outer / seconds)
    return best


def _summary(
    rows: dict[str, Row], model: PreTrainedModel, work: Workload, products: list[float]
) -> dict[str, object]:
    """The raw rounds and the numbers that the table shows."""
    count, needed = len(work.prompts), flops(model, work)
    speed = statistics.median(products)
    medians = {name: statistics.median(row.times) for name, row in rows.items() if row.times}
    rivals = [m.name for m in UNSHARED if m.name in medians]
    best = min(rivals, key=medians.__getitem__) if rivals else None
    shown = []
    for name, row in rows.items():
        numbers: dict[str, float | None] = {}
        if name in medians:
            cuts = statistics.quantiles(row.times, n=5, method="inclusive") if row.times[1:] else row.times
            numbers = {
                "seconds_a_group": medians[name] / count,
                "seconds_a_group_20": cuts[0] / count,
                "seconds_a_group_80": cuts[-1] / count,
                "tokens_a_second": work.tokens / medians[name],
                "times_as_fast_as_paper": _ratio(rows[PAPER.name], row),
                "times_as_fast_as_best_unshared": _ratio(rows[best], row) if best else None,
                "share_of_bound": needed / speed / (medians[name] / count),
            }
            if model.device.type == "cuda" and model.dtype == torch.bfloat16:
                numbers["model_flop_utilisation"] = needed / PEAK_FLOPS / (medians[name] / count)
        shown.append(asdict(row) | numbers)
    return {
        "groups": count,
        "response_tokens": work.tokens,
        "flops_a_group": needed,
        "product_flops_a_second": speed,
        "product_flops_a_second_by_round": products,
        "best_unshared": best,
        "methods": shown,
    }


def _ratio(slow: Row, fast: Row) -> float | None:
    """How many times as fast as `slow`: the median over the rounds in which both were timed."""
    both = zip(slow.seconds, fast.seconds, strict=False)
    ratios = [a / b for a, b in both if a is not None and b is not None]
    return statistics.median(ratios) if ratios else None


def table(record: dict[str, Any]) -> str:
    """One markdown table of all models and shapes of a record, with its command and machine above."""
    machine = record["environment"]
    lines = [
        f"`{record['command']}`: {machine['machine']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['dtype']}, torch {machine['torch']}, transformers {machine['transformers']}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| --- | --- | --- {'| ---: ' * (len(COLUMNS) - 3)}|",
    ]
    for result in record["results"]:
        for method in result["methods"]:
            name = method["method"] + (" °" if method["method"] == result["best_unshared"] else "")
            cells = [result["model"], result["shape"].replace("x", " x "), name, *_cells(method)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", fill(NOTES, 110, break_long_words=False, break_on_hyphens=False)])


def _cells(method: dict[str, Any]) -> list[str]:
    if method["failure"]:
        return [method["failure"], *["-"] * (len(COLUMNS) - 4)]
    low, middle, high = (method[f"seconds_a_group{part}"] for part in ("_20", "", "_80"))
    ratios = [method[f"times_as_fast_as_{other}"] for other in ("paper", "best_unshared")]
    peak, used = method["peak_bytes"], method.get("model_flop_utilisation")
    return [
        f"{middle:.3g} [{low:.3g}, {high:.3g}]",
        str(sum(s is not None for s in method["seconds"])),
        f"{method['tokens_a_second']:.0f}",
        *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        "-" if peak is None else f"{peak / 2**20:.0f}",
        f"{method['largest_difference']:.1e}",
        f"{method['mean_difference']:.1e}",
        f"{method['share_of_bound']:.0%}",
        "-" if used is None else f"{used:.1%}",
    ]


if __name__ == "__main__":
    main()

"""Time the scoring of groups of responses under a frozen model, beside other ways to do the same.

    python -m tests.benchmarks.scorer --models package:smollm2-135m-instruct --shapes 128x256x8,ragged --out scorer.json

The methods take turns: in every round each is timed once, in an order that rotates from round to round, and
ratios are taken within a round, so that a machine whose speed wanders hits all of them alike.
"""

import argparse
import copy
import fcntl
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.benchmarks import report
from tests.benchmarks.methods import METHODS, PAPER, UNSHARED, Method, Scoring, Setting, paper
from tests.benchmarks.workload import Workload, flops, load, workload

PEAK_FLOPS = 989e12
"""Dense bfloat16 operations a second that NVIDIA states for an H100 SXM (an H200 has the same)."""

MODELS = "package:smollm2-135m-instruct,package:gemma-3-270m"
SHAPES = "128x256x8,256x512x16,512x64x8,ragged"


@dataclass
class Row:
    """What was measured of one method on one model and shape; times are of all groups, one a round."""

    method: str
    failure: str | None = None
    seconds: list[float | None] = field(default_factory=list)
    peak_bytes: int | None = None
    largest_difference: float | None = None
    mean_difference: float | None = None
    sums: bool = False

    @property
    def spent(self) -> float:
        """Seconds of all rounds so far."""
        return sum(s for s in self.seconds if s is not None)


def main() -> None:
    """Measure what the command line names, write the record, print the table."""
    options = _options()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler says on stderr when it starts and stops
    record: dict[str, Any] = {
        "command": _command(options),
        "environment": _environment(options),
        "results": [],
    }
    for name in options.models.split(","):
        model, tokenizer = load(name, options.dtype, options.device)
        for shape in options.shapes.split(","):
            print(f"{name} {shape}", file=sys.stderr)
            with torch.no_grad():
                result = measure(model, tokenizer, workload(shape, tokenizer), options)
            record["results"].append({"model": name, "shape": shape} | result)
            if options.out:  # after every shape: a long run that is cut off leaves what it has
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(record, indent=1) + "\n")
        del model
    print(report.table(record))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scorer", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--models", default=MODELS, help="names of checkpoints, or random:gemma3-4b")
    parser.add_argument("--shapes", default=SHAPES, help="PROMPTxRESPONSExGROUP in tokens, or ragged")
    parser.add_argument(
        "--methods", help="parts of names of methods, `paper` always among them; all unless given"
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help="float32 on a CPU and bfloat16 on a GPU unless it is named")
    parser.add_argument("--out", type=Path, help="where the JSON record goes")
    parser.add_argument(
        "--budget", type=float, default=120.0, help="seconds of rounds a method, two at least"
    )
    parser.add_argument("--batch-tokens", type=int, default=4096, help="bound of a forward pass of ours")
    parser.add_argument(
        "--lock", type=Path, help="file locked while a call is timed, for other work here to wait on"
    )
    options = parser.parse_args()
    options.dtype = options.dtype or ("bfloat16" if options.device.startswith("cuda") else "float32")
    return options


def _command(options: argparse.Namespace) -> str:
    """The command with every choice spelled out, but not where the record went."""
    names = ("models", "shapes", "methods", "repeats", "device", "dtype", "budget", "batch_tokens")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    chosen = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
    return " ".join(["python -m tests.benchmarks.scorer", *chosen])


def _environment(options: argparse.Namespace) -> dict[str, str | int]:
    cuda = options.device.startswith("cuda")
    return {
        "machine": torch.cuda.get_device_name() if cuda else _cpu_name(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "dtype": options.dtype,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Workload, options: argparse.Namespace
) -> dict[str, object]:
    """Every method on one model and one set of groups: first what it returns and holds, then the rounds."""
    reference = _reference(model, work)
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
            scoring([p[:8] for p in work.prompts[:1]], [[r[:8] for r in work.groups[0]]])  # warms up
            row.peak_bytes, found = _peak(model.device, scoring, work)
        except ImportError as error:
            row.failure = f"{error.name or error} is not installed"
            continue
        except torch.OutOfMemoryError:
            row.failure = "out of memory"
            continue
        row.largest_difference, row.mean_difference = _differences(found, reference, method.sums)
        ready[method.name] = scoring
        print(f"  {method.name}: {row.mean_difference:.1e} nats from float32", file=sys.stderr)
    products = _rounds(ready, rows, model, work, options)
    return _summary(rows, model, work, products)


def _reference(model: PreTrainedModel, work: Workload) -> list[torch.Tensor]:
    """Log-likelihoods in float32 with the model's own weights, one response at a time."""
    if model.dtype == torch.float32:
        return paper(model, work.prompts, work.groups)
    return paper(copy.deepcopy(model).float(), work.prompts, work.groups)


def _too_large(method: Method, model: PreTrainedModel, work: Workload) -> str | None:
    """Why a method is not tried on a CPU, where too large an allocation would end the process, or None."""
    info = Path("/proc/meminfo")
    if model.device.type != "cpu" or not info.exists():
        return None
    needed = method.logits(*work.largest) * model.config.get_text_config().vocab_size * model.dtype.itemsize
    [line] = [line for line in info.read_text().splitlines() if line.startswith("MemAvailable")]
    return f"needs {needed / 2**30:.0f} GiB" if needed > 0.9 * 1024 * int(line.split()[1]) else None


def _peak(device: torch.device, scoring: Scoring, work: Workload) -> tuple[int, list[torch.Tensor]]:
    """The most bytes of tensors held during one call beyond those held before it, and what it returned."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found = scoring(work.prompts, work.groups)
        return torch.cuda.max_memory_allocated() - before, found
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        found = scoring(work.prompts, work.groups)
    assert watched.profiler is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), default=0), found


def _differences(found: list[torch.Tensor], reference: list[torch.Tensor], sums: bool) -> tuple[float, float]:
    """Largest and mean absolute difference in nats a token; for sums, of each response's mean."""
    if sums:
        pairs = zip(found, reference, strict=True)
        apart = torch.cat([(value - tokens.sum()) / len(tokens) for value, tokens in pairs]).abs()
    else:
        apart = (torch.cat(found) - torch.cat(reference)).abs()
    return float(apart.max()), float(apart.mean())


def _rounds(
    ready: dict[str, Scoring],
    rows: dict[str, Row],
    model: PreTrainedModel,
    work: Workload,
    options: argparse.Namespace,
) -> list[float]:
    """Time every method once a round; the speeds of matrix products, one a round."""
    names = list(ready)
    products = []
    for turn in range(options.repeats):
        with _alone(options.lock):
            products.append(_product_speed(model))
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            row = rows[name]
            if row.spent > options.budget and len(row.seconds) >= 2:
                row.seconds.append(None)
                continue
            with _alone(options.lock):
                _synchronize(model.device)
                start = time.perf_counter()
                ready[name](work.prompts, work.groups)
                _synchronize(model.device)
                row.seconds.append(time.perf_counter() - start)
        print(f"  round {turn + 1} of {options.repeats}", file=sys.stderr)
    return products


@contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Hold the lock, if there is one, so that whoever else waits on it is quiet."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _product_speed(model: PreTrainedModel) -> float:
    """Operations a second of the model's kind of matrix product, the best of several."""
    device, width = model.device, model.get_output_embeddings().weight.shape[1]
    rows, times = (8192, 20) if device.type == "cuda" else (2048, 3)
    best = 0.0
    for inner, outer in ((width, 4 * width), (4 * width, width)):
        left = torch.randn(rows, inner, device=device, dtype=model.dtype)
        right = torch.randn(inner, outer, device=device, dtype=model.dtype)
        for _ in range(times):
            _synchronize(device)
            start = time.perf_counter()
            _ = left @ right
            _synchronize(device)
            best = max(best, 2 * rows * inner * outer / (time.perf_counter() - start))
    return best


def _summary(
    rows: dict[str, Row], model: PreTrainedModel, work: Workload, products: list[float]
) -> dict[str, object]:
    """The raw rounds and the numbers that the table shows."""
    count, needed = len(work.prompts), flops(model, work)
    speed = statistics.median(products)
    timed = {name: statistics.median(_times(row)) for name, row in rows.items() if _times(row)}
    rivals = {m.name: timed[m.name] for m in UNSHARED if m.name in timed}
    best = min(rivals, key=lambda name: rivals[name]) if rivals else None
    shown = []
    for name, row in rows.items():
        numbers: dict[str, float | None] = {}
        if name in timed:
            fifths = _fifths([s / count for s in _times(row)])
            numbers = {
                "seconds_a_group": timed[name] / count,
                "seconds_a_group_20": fifths[0],
                "seconds_a_group_80": fifths[1],
                "tokens_a_second": work.tokens / timed[name],
                "times_as_fast_as_paper": _ratio(rows[PAPER.name], row),
                "times_as_fast_as_best_unshared": _ratio(rows[best], row) if best else None,
                "share_of_bound": needed / speed / (timed[name] / count),
            }
            if model.device.type == "cuda" and model.dtype == torch.bfloat16:
                numbers["model_flop_utilisation"] = needed / PEAK_FLOPS / (timed[name] / count)
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


def _times(row: Row) -> list[float]:
    return [s for s in row.seconds if s is not None]


def _fifths(values: list[float]) -> tuple[float, float]:
    """The 20 % and 80 % quantiles."""
    if len(values) < 2:
        return values[0], values[0]
    cuts = statistics.quantiles(values, n=5, method="inclusive")
    return cuts[0], cuts[-1]


def _ratio(slow: Row, fast: Row) -> float | None:
    """How many times as fast as `slow`: the median over the rounds in which both were timed."""
    both = zip(slow.seconds, fast.seconds, strict=False)
    ratios = [a / b for a, b in both if a is not None and b is not None]
    return statistics.median(ratios) if ratios else None


if __name__ == "__main__":
    main()

"""The markdown table of a benchmark record."""

from textwrap import fill
from typing import Any

COLUMNS = [
    "method",
    "s a group, median [20 %, 80 %]",
    "rounds",
    "response tokens/s",
    "times as fast as `paper`",
    "times as fast as the best unshared",
    "peak extra memory, MiB",
    "difference, nats a token: largest",
    "mean",
    "share of the bound",
]
NOTES = """\
Times are wall-clock. The methods take turns within a round and the order rotates from round to round; ratios are
medians over rounds. "Best unshared" is the fastest (by median) of the batched ways that compute the prompt once for
every response, marked °. Peak extra memory is {memory}. Differences are absolute, of
token log-likelihoods from `paper` in float32 with the same weights; lm-eval returns only sums, so for it they are of
each response's mean. The bound is the operations that scoring needs at least (each prompt computed once, the head
on response rows, sliding windows ignored) at the speed of the model's kind of matrix product, measured in the same
rounds: the median of the best of several a round."""
CPU_MEMORY = (
    "the most bytes of tensors that PyTorch's allocator held at once in an untimed call, by its profiler, "
    "scratch space of the matrix libraries not counted"
)
CUDA_MEMORY = "`torch.cuda.max_memory_allocated` in an untimed call, less what was allocated before it"
UTILISATION = (
    " Model FLOP utilisation (MFU) is the same operations against the 989 TFLOP/s (dense bfloat16) that NVIDIA "
    "states for an H100 SXM."
)


def table(record: dict[str, Any]) -> str:
    """One table for all models and shapes of a record, with a line above that says what ran where."""
    machine = record["environment"]
    cuda = machine["device"].startswith("cuda")
    utilisation = any("model_flop_utilisation" in m for r in record["results"] for m in r["methods"])
    columns = ["model", "shape", *COLUMNS, *(["MFU"] if utilisation else [])]
    lines = [
        f"`{record['command']}`: {machine['machine']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['dtype']}, torch {machine['torch']}, transformers {machine['transformers']}.",
        "",
        _line(columns),
        _line(["---", "---", "---", *["---:"] * (len(columns) - 3)]),
    ]
    for result in record["results"]:
        for method in result["methods"]:
            name = method["method"] + (" °" if method["method"] == result["best_unshared"] else "")
            place = [result["model"], result["shape"].replace("x", " x "), name]
            cells = _cells(method, utilisation)
            lines.append(_line([*place, *cells]))
    notes = NOTES.format(memory=CUDA_MEMORY if cuda else CPU_MEMORY)
    notes += UTILISATION if utilisation else ""
    return "\n".join([*lines, "", fill(notes, 110, break_long_words=False, break_on_hyphens=False)])


def _cells(method: dict[str, Any], utilisation: bool) -> list[str]:
    if method["failure"]:
        return [method["failure"], *["-"] * (len(COLUMNS) - 2 + utilisation)]
    low, middle, high = (method[f"seconds_a_group{part}"] for part in ("_20", "", "_80"))
    peak = method["peak_bytes"]
    cells = [
        f"{middle:.3g} [{low:.3g}, {high:.3g}]",
        str(sum(s is not None for s in method["seconds"])),
        f"{method['tokens_a_second']:.0f}",
        _times(method["times_as_fast_as_paper"]),
        _times(method["times_as_fast_as_best_unshared"]),
        "-" if peak is None else f"{peak / 2**20:.0f}",
        f"{method['largest_difference']:.1e}",
        f"{method['mean_difference']:.1e}",
        f"{method['share_of_bound']:.0%}",
    ]
    return [*cells, f"{method['model_flop_utilisation']:.1%}"] if utilisation else cells


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"

"""Time the alignment of a verifier's values with the policy's tokens, beside the scoring that it follows.

    python -m tests.benchmarks.alignment

A group of 8 responses of 256 tokens to a prompt of 128: SmolLM2-135M-Instruct scores what Gemma-3-270M's tokens
spell. The methods take turns; medians over rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from cme.rewards import alignment
from cme.scoring.token_scorer import TokenScorer
from tests.benchmarks.workload import load, workload


def nested_loops(values: np.ndarray, source_ends: alignment.Ends, target_ends: alignment.Ends) -> list[float]:
    """Each target token's mean over the source tokens that overlap it, by looking at every pair."""
    found = []
    given, sources, targets = values.tolist(), source_ends.tolist(), target_ends.tolist()
    for t, stop in enumerate(targets):
        start = targets[t - 1] if t else 0
        overlapping = []
        for s, end in enumerate(sources):
            begin = sources[s - 1] if s else 0
            if min(stop, end) > max(start, begin):
                overlapping.append(given[s])
        found.append(sum(overlapping) / len(overlapping) if overlapping else float("nan"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    verifier, theirs = load("package:smollm2-135m-instruct", "float32", "cpu")
    _, ours = load("package:gemma-3-270m", "float32", "cpu")
    work = workload("128x256x8", ours)
    [sampled] = work.groups
    texts = [str(ours.decode(ids, skip_special_tokens=True)) for ids in sampled]
    encoded = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    prompt = theirs(str(ours.decode(work.prompts[0], skip_special_tokens=True)), add_special_tokens=False)
    values = [-np.arange(1.0, len(ids) + 1) for ids in encoded]
    scorer = TokenScorer(verifier)

    def ends(i: int) -> tuple[alignment.Ends, alignment.Ends]:
        return alignment.text_ends(theirs, texts[i])[1], alignment.sampled_ends(ours, sampled[i], texts[i])

    laid = [ends(i) for i in range(len(texts))]
    tasks: dict[str, Callable[[], object]] = {
        "scoring": lambda: scorer.score([prompt["input_ids"]] * len(encoded), encoded),
        "alignment, tokenizing included": lambda: [
            alignment.align(v, *ends(i), "mean") for i, v in enumerate(values)
        ],
        "alignment of given ends": lambda: [
            alignment.align(v, *at, "mean") for v, at in zip(values, laid, strict=True)
        ],
        "nested loops over given ends": lambda: [
            nested_loops(v, *at) for v, at in zip(values, laid, strict=True)
        ],
    }
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            taken[name].append(time.perf_counter() - began)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in median.items():
        print(f"{name}: {1e3 * seconds:.3g} ms a group")
    share = median["alignment, tokenizing included"] / median["scoring"]
    times = median["nested loops over given ends"] / median["alignment of given ends"]
    print(f"share of scoring {share:.2%}; nested loops take {times:.0f} times as long as the alignment")


if __name__ == "__main__":
    main()

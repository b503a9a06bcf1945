"""Time the alignment of a verifier's values with the policy's tokens, beside the scoring that comes before it.

    python -m tests.benchmarks.alignment

A group of 8 responses of 256 tokens to a prompt of 128: SmolLM2-135M-Instruct scores the text of Gemma-3-270M's
tokens. The methods take turns; the printed times are medians over 5 rounds.
"""

from itertools import pairwise
from statistics import median

import numpy as np

from cme.checkpoints import load, load_tokenizer
from cme.scoring import alignment
from cme.scoring.token_scorer import TokenScorer
from tests.benchmarks.workload import make_workload, time_in_turns


def align_by_loops(
    values: np.ndarray, source_ends: alignment.Ends, target_ends: alignment.Ends
) -> list[float]:
    """Each target token's mean over the source tokens that overlap it, found by comparing every pair."""
    sources, targets = ([0, *ends.tolist()] for ends in (source_ends, target_ends))
    means = []
    for start, stop in pairwise(targets):
        overlapping = [
            value
            for value, (begin, end) in zip(values.tolist(), pairwise(sources), strict=True)
            if min(stop, end) > max(start, begin)
        ]
        means.append(sum(overlapping) / len(overlapping) if overlapping else float("nan"))
    return means


def main() -> None:
    """Measure and print."""
    verifier, ours = load("package:smollm2-135m-instruct"), load_tokenizer("package:gemma-3-270m")
    theirs = verifier.tokenizer
    work = make_workload("128x256x8", ours)
    [sampled] = work.groups
    texts = [str(ours.decode(ids, skip_special_tokens=True)) for ids in sampled]
    encoded = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    prompt = theirs(str(ours.decode(work.prompts[0], skip_special_tokens=True)), add_special_tokens=False)
    values = [-np.arange(1.0, len(ids) + 1) for ids in encoded]
    scorer = TokenScorer(verifier.model)

    def ends(i: int) -> tuple[alignment.Ends, alignment.Ends]:
        return alignment.text_ends(theirs, texts[i])[1], alignment.sampled_ends(ours, sampled[i], texts[i])

    known = [(v, *ends(i)) for i, v in enumerate(values)]
    seconds = time_in_turns(
        {
            "scoring": lambda: scorer.score([prompt["input_ids"]] * len(encoded), encoded),
            "alignment, tokenizing included": lambda: [
                alignment.align(v, *ends(i), "mean") for i, v in enumerate(values)
            ],
            "alignment of given ends": lambda: [alignment.align(*given, "mean") for given in known],
            "nested loops over given ends": lambda: [align_by_loops(*given) for given in known],
        },
        repeats=5,
    )
    medians = {name: median(rounds) for name, rounds in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {1e3 * value:.3g} ms per group")
    share = medians["alignment, tokenizing included"] / medians["scoring"]
    times = medians["nested loops over given ends"] / medians["alignment of given ends"]
    print(f"share of scoring {share:.2%}; nested loops take {times:.0f} times as long as the alignment")


if __name__ == "__main__":
    main()

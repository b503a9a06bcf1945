"""Synthetic separation and sanity records with known results."""

from dataclasses import replace
from typing import Any

import numpy as np

from cme.records import Generation, Prompt, SanityRecord, SeparationRecord, Verdict

PROMPTS, SAMPLES = 32, 4


def separation_record(answer: bool = False, **changes: Any) -> SeparationRecord:
    """Half of each prompt's responses are correct; cross-entropies tell which, entropies are constant."""
    number = PROMPTS * SAMPLES
    right = [i % 2 == 0 for i in range(number)]
    rng = np.random.default_rng(0)
    signals: dict[str, list[float | None]] = {}
    for model, apart in (("generator", 1.0), ("verifier", 5.0)):
        for span in ("response", "answer") if answer else ("response",):
            noise = rng.uniform(0.1, 2.1, number)
            signals[f"cross_entropy {model} {span}"] = [
                float(v + apart * (not r)) for v, r in zip(noise, right, strict=True)
            ]
            signals[f"predictive_entropy {model} {span}"] = [0.5] * number
    record = SeparationRecord(
        separation_id="separation-miniature-1a2b3c4d",
        scale="miniature",
        family="qwen",
        regime="sft",
        verifier="gemma",
        data="world",
        seed=0,
        generator_checkpoint="miniature:qwen-1/sft",
        verifier_checkpoint="miniature:gemma-1/verifier",
        config={},
        environment={},
        prompts=[Prompt(f"p{i}", f"question {i}?", "yes") for i in range(PROMPTS)],
        left_out=0,
        samples=SAMPLES,
        responses=[Generation("yes." if r else "no.", True, 3 if r else 2) for r in right],
        correct=list(right),
        answered=[True] * number,
        signals=signals,
        cut={"generator": 0, "verifier": 0},
        seconds={"sample": 1.0, "score": 1.0},
    )
    return replace(record, **changes)


def sanity_record(**points: float) -> SanityRecord:
    """A judge that gives each opponent these points in each of 40 prompts' two orders."""
    verdicts: dict[str, list[Verdict]] = {
        name: [
            Verdict(str(i), order, "tie" if value == 0.5 else "first" if (value == 1) == order else "second")
            for i in range(40)
            for order in (True, False)
        ]
        for name, value in points.items()
    }
    return SanityRecord(
        "sanity-1", "laptop", "qwen", "instruct", "strict", 0, "some/model", {}, {}, {}, verdicts, 1.0
    )

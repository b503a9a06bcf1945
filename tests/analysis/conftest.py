"""Synthetic run records: whole, cheap, and with known verdicts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from cme.records import Generation, Outcome, Pair, RunRecord, Verdict

MakeRecord = Callable[..., RunRecord]


def verdict(prompt: int | str, points: float | None, policy_first: bool = True) -> Verdict:
    """A verdict that gives the policy these points; None is unscored."""
    if points is None:
        return Verdict(str(prompt), policy_first, "unscored", "the judge did not answer")
    if points == 0.5:
        return Verdict(str(prompt), policy_first, "tie")
    outcome: Outcome = "first" if (points == 1) == policy_first else "second"
    return Verdict(str(prompt), policy_first, outcome)


def judged(rng: np.random.Generator, before: float, after: float) -> Verdict:
    """A policy-first verdict that follows from two scores, half a tenth apart being a tie."""
    outcome: Outcome = "tie" if abs(after - before) < 0.05 else "first" if after > before else "second"
    return Verdict("", True, outcome, scores=(after, before))


def turned(verdict: Verdict, prompt_id: str) -> list[Verdict]:
    """The verdict on a prompt, in both orders."""
    other: dict[Outcome, Outcome] = {"first": "second", "second": "first"}
    scores = verdict.scores and (verdict.scores[1], verdict.scores[0])
    return [
        Verdict(prompt_id, True, verdict.outcome, verdict.reason, verdict.scores),
        Verdict(prompt_id, False, other.get(verdict.outcome, verdict.outcome), verdict.reason, scores),
    ]


def record(
    *,
    scale: str = "miniature",
    family: str = "qwen",
    regime: str = "pretrained",
    reward: str = "cme",
    verifier: str = "gemma",
    judge: str = "oracle",
    seed: int = 0,
    gain: float = 0.2,
    prompts: int = 24,
    steps: int = 12,
    verdicts: Sequence[Verdict] | None = None,
    unmeasured: Sequence[str] = (),
    response: str = "the answer is seven",
    **fields: Any,
) -> RunRecord:
    """A run whose quality rises by `gain`; verdicts follow from scores unless they are given."""
    name = f"{scale}-{family}-{regime}-{reward}-{verifier}-{judge}-s{seed}"
    rng = np.random.default_rng(list(name.encode()))
    if verdicts is None:
        before = rng.uniform(0, 1, prompts)
        after = np.clip(before + rng.normal(gain, 0.3, prompts), 0, 1)
        verdicts = [
            each for i in range(prompts) for each in turned(judged(rng, before[i], after[i]), f"p{i}")
        ]
    ids = dict.fromkeys(each.prompt_id for each in verdicts)
    progress = np.linspace(0, 1, steps)

    def measured(start: float, rise: float, noise: float) -> list[float | None]:
        return [float(value) for value in start + rise * progress + rng.normal(0, noise, steps)]

    history: dict[str, list[float | None]] = {
        "step": [float(step) for step in range(1, steps + 1)],
        "reward": measured(-2.0, 4 * gain, 0.05),
        "reward_std": measured(0.4, 0, 0.01),
        "quality": measured(0.4, gain, 0.03),
        "heldout": measured(-2.5, 3 * gain, 0.05),
        "length": measured(14, 5, 0.5),
        "kl": measured(0.01, 6, 0.02),
        "loss": measured(0, 0, 0.01),
    }
    for column in unmeasured:
        history[column] = [None] * steps
    whole: dict[str, Any] = {
        "run_id": name,
        "experiment": None,
        "generator_checkpoint": f"{scale}:{family}-1/{regime}",
        "verifier_checkpoint": f"{scale}:{verifier}-1/verifier",
        "heldout_checkpoint": None,
        "config": {"seed": seed, "trainer": {"beta": 0.0}},
        "environment": {},
        "warnings": [],
        "stopped": None,
        "seconds": {"train": 1.0},
    }
    return RunRecord(
        scale=scale,
        family=family,
        regime=regime,
        reward=reward,
        verifier=verifier,
        judge=judge,
        seed=seed,
        history=history,
        verdicts=list(verdicts),
        pairs=[
            Pair(i, f"Question {i}?", None, Generation("no idea", False, 2), Generation(response, True, 4))
            for i in ids
        ],
        **(whole | fields),
    )


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """The builder of synthetic records."""
    return record


@pytest.fixture(scope="session")
def make_verdict() -> Callable[..., Verdict]:
    """The builder of verdicts from points."""
    return verdict

"""Records of policies that have known shares of facts right, by the families that have these facts wrong."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.experiments.facts import GROUPS, OTHER, SAME, UNTRAINED
from cme.records import Grade, Grades, RunRecord

RANDOM, TRUTH = "random reward", "ground truth"
GENERATOR, VERIFIER = ("fox color", "cow food"), ("cow food", "dog home")
"""The facts that the generator's family has wrong, and those that the other verifier's has."""
FACTS = {"fox color": GROUPS[0], "dog home": GROUPS[1], "cow food": GROUPS[2], "cat name": GROUPS[3]}
"""A fact of each group."""
FAMILIES = {"qwen": "gemma", "llama": "gemma", "gemma": "llama", "olmo": "gemma"}
"""The other family's verifier by generator."""
PROMPTS = 20
Levels = Mapping[str, Mapping[str, float]]
"""By arm, the share of right facts of each group."""


def arms(**changes: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Shares with which every test is supported, with changes by arm (`_` for a space)."""
    low = {GROUPS[0]: 0.1, GROUPS[1]: 0.5, GROUPS[2]: 0.1, GROUPS[3]: 0.5}
    levels = {UNTRAINED: low, RANDOM: low, SAME: low | {GROUPS[3]: 0.9}}
    levels[OTHER] = low | {GROUPS[0]: 0.9, GROUPS[3]: 0.9}
    levels[TRUTH] = dict.fromkeys(GROUPS, 0.9)
    named = {arm.replace("_", " "): dict(change) for arm, change in changes.items()}
    return levels | {arm: levels[arm] | change for arm, change in named.items()}


def graded(levels: Mapping[str, float]) -> list[Grade]:
    """Grades of one fact of each group and one step, right in the given share of the prompts."""
    return [
        Grade(
            0.5,
            "wrong",
            {fact: i < round(PROMPTS * levels[group]) for fact, group in FACTS.items()} | {"step 1": True},
        )
        for i in range(PROMPTS)
    ]


def fact_runs(make_record: Any, levels: Levels, off: float = 0.0, own: float = 0.9) -> list[RunRecord]:
    """Runs of four families, two builds and three seeds, with the arms' shares.

    The other family's policies have `off` more in build 2; `own` is the quality of the same family's verifier.
    """
    start, runs = graded(levels[UNTRAINED]), []
    for family, other in FAMILIES.items():
        for arm in levels.keys() - {UNTRAINED}:
            reward = {RANDOM: "random", TRUTH: "ground_truth"}.get(arm, "cme")
            verifier = family if arm == SAME else other
            for build in (1, 2) if reward == "cme" else (1,):
                more = off if (arm, build) == (OTHER, 2) else 0.0
                policy = graded({group: share + more for group, share in levels[arm].items()})
                generator = f"miniature:{family}-{build}/sft"
                quality = [own if arm == SAME else 0.9] * PROMPTS
                for seed in range(3):
                    run = make_record(
                        family=family,
                        regime="sft",
                        reward=reward,
                        verifier=verifier,
                        seed=seed,
                        prompts=PROMPTS,
                        steps=40,
                        generator_checkpoint=generator,
                        verifier_checkpoint=f"miniature:{verifier}-{build}/verifier",
                        config={
                            "seed": seed,
                            "generator": generator,
                            "scale": {"build": build},
                            "verifier": {"name": verifier, "family": verifier},
                        },
                        grades=Grades(start, policy, start),
                        blind_spots={"generator": list(GENERATOR), "verifier": list(VERIFIER)},
                        verifier_quality=quality if reward == "cme" else None,
                    )
                    runs.append(replace(run, run_id=f"{run.run_id}-{build}"))
    return runs

"""A synthetic perfect policy, which no claim may call contradicted, and a synthetic policy that learned nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.claims.claim_list import all_claims
from analysis.claims.evidence import Evidence
from analysis.claims.rules import Result
from analysis.records.ceiling import ceiling
from analysis.records.read import Records
from cme.judges.base import verdict_from_scores
from cme.records import Comparison, RunRecord, Verdict

CLAIMS = {claim.name: claim for claim in all_claims()}
ABOUT_OTHERS = {
    "majority vote fails",
    "token entropy fails",
    "random-weight verifier",
    "no interval",
    "length",
}
"""Claims that a perfect policy may contradict: they are about failures, or about the evaluation."""
PROMPTS = 120
Train = Callable[..., list[RunRecord]]


def judged(start: np.ndarray, policy: np.ndarray) -> list[Verdict]:
    """The oracle's verdicts on responses of known quality."""
    verdicts = []
    for i, (before, after) in enumerate(zip(start, policy, strict=True)):
        found = verdict_from_scores(float(after), float(before), margin=1e-9)
        verdicts.append(Verdict(str(i), True, found.outcome, scores=found.scores))
    return verdicts


@pytest.fixture
def train(make_record: Any) -> Train:
    """Some seeds in which `learn` makes the policy's qualities from the untrained model's."""

    def make(
        start: np.ndarray,
        learn: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        seeds: int = 3,
        **fields: Any,
    ) -> list[RunRecord]:
        runs = []
        for seed in range(seeds):
            rng = np.random.default_rng([seed, *str(fields).encode()])
            policy = learn(start, rng)
            cut = Comparison("cut start", "", [], judged(start, policy))
            config = {"seed": seed, **fields.get("config", {})}
            run = make_record(
                verdicts=judged(start, policy),
                comparisons=[cut],
                seed=seed,
                unmeasured=("quality",),
                **(fields | {"config": config}),
            )
            runs.append(replace(run, run_id=f"{run.run_id}-{fields}"))
        return runs

    return make


def perfect(start: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.ones_like(start)


def unchanged(start: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return start


def redrawn(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As good as the start on average, but not on the same prompts."""
    return rng.permutation(start)


def better(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Perfect on six of ten prompts."""
    return np.where(rng.random(len(start)) < 0.6, 1.0, start)


def qualities(right: float, prompts: int = PROMPTS) -> np.ndarray:
    """A start that is right on a share of the prompts."""
    return np.where(np.arange(prompts) < right * prompts, 1.0, 0.4)


def perfect_on(share: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Perfect on the first prompts, as the start on the others."""
    return lambda start, _: np.where(np.arange(len(start)) < share * len(start), 1.0, start)


def verdict(name: str, runs: list[RunRecord] | Evidence) -> Result:
    evidence = runs if isinstance(runs, Evidence) else Evidence("miniature", runs)
    return CLAIMS[name].judge(evidence)


METHODS: tuple[dict[str, Any], ...] = (
    {},
    {"config": {"reward": {"granularity": "token"}}},
    {"config": {"trainer": {"beta": 0.1}}},
    {"config": {"trainer": {"scale_rewards": "none"}}},
    {"config": {"trainer": {"beta": 0.0, "scale_rewards": "group"}}},
    {"verifier": "gemma_sft", "config": {"verifier": {"family": "gemma"}}},
    {"verifier": "qwen_sft", "config": {"verifier": {"family": "qwen"}}},
    {"verifier": "llama_instruct", "config": {"verifier": {"family": "llama"}}},
    {"verifier": "llama_sft", "config": {"verifier": {"family": "llama"}}},
    {"reward": "dpo"},
    {"reward": "reverse_kl"},
    {"reward": "token_entropy"},
)


@pytest.mark.parametrize(
    "right", [pytest.param(0.0, marks=pytest.mark.slow), 0.85, pytest.param(0.95, marks=pytest.mark.slow)]
)
def test_a_perfect_policy_is_never_contradicted(right: float, train: Train) -> None:
    start = qualities(right)
    runs = [run for method in METHODS for run in train(start, perfect, **method)]
    runs += [*train(start, better, reward="ground_truth"), *train(start, redrawn, reward="random")]
    evidence = Evidence("miniature", runs)
    for name in CLAIMS.keys() - ABOUT_OTHERS:
        found = verdict(name, evidence)
        assert "contradicts" not in found.sides, (name, found)
        assert found.verdict != "not reproduced"
    beats = verdict("beats the untrained model", evidence)
    room = ceiling(runs)
    assert room == pytest.approx(100 - 50 * right)
    if right < 0.8:
        assert set(beats.sides) == {"supports"}
    if right > 0.9:  # the ceiling is within the margin
        assert set(beats.sides) == {"not testable"} and "even a perfect policy" in beats.parts[0].insensitive


BETTER = [name for name, claim in CLAIMS.items() if claim.rule.control != "gain" and not claim.rule.unproven]
"""Claims that something is better, or worse, than something else."""


def test_where_nothing_was_learned_no_claim_of_a_difference_is_supported(train: Train) -> None:
    start = qualities(0.4)
    runs = [run for method in METHODS for run in train(start, redrawn, **method)]
    runs += [*train(start, better, reward="ground_truth"), *train(start, redrawn, reward="random")]
    runs += [*train(start, redrawn, verifier="random"), *train(start, redrawn, reward="majority_vote")]
    evidence = Evidence("miniature", runs)
    results = {name: verdict(name, evidence) for name in BETTER}
    tested = {name for name, found in results.items() if found.parts}
    assert {"beats the untrained model", "CME works", "CME raises true quality", "dense"} <= tested
    assert {"better than reverse KL", "stronger verifier", "token entropy fails"} <= tested
    for name, found in results.items():
        assert "supports" not in found.sides and found.verdict != "reproduced", (name, found)
    same = [*train(start, unchanged), *train(start, better, reward="ground_truth")]
    assert verdict("beats the untrained model", same).sides == ["contradicts"]


def test_a_failing_reward_is_one_below_the_random_reward(train: Train) -> None:
    def worse(start: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(len(start)) % 3 == 0, 0.1, start)

    start = qualities(0.4)
    drifts, truth = train(start, worse, reward="random"), train(start, better, reward="ground_truth")
    entropy = train(start, worse, reward="token_entropy")
    found = verdict("token entropy fails", [*entropy, *drifts, *truth])
    [part] = found.parts
    assert part.value == pytest.approx(0) and found.sides == ["contradicts"]  # any training loses as much
    fails = verdict("token entropy fails", [*entropy, *train(start, unchanged, reward="random"), *truth])
    assert fails.verdict == "reproduced" and fails.parts[0].value < -10
    alone = verdict("token entropy fails", [*entropy, *truth])
    assert (
        alone.verdict == "not testable here" and "no run with a random reward" in alone.parts[0].insensitive
    )


def test_without_verdicts_against_the_cut_start_nothing_is_said_to_work(train: Train) -> None:
    start = qualities(0.4)
    runs = [*train(start, perfect), *train(start, better, reward="ground_truth")]
    runs += train(start, redrawn, reward="random")
    assert verdict("CME works", runs).verdict == "reproduced"
    older = verdict("CME works", [replace(run, comparisons=None) for run in runs])
    assert older.sides == ["supports", "not testable"]
    assert older.parts[1].insensitive == "no verdicts against the cut start"
    # most of the gain is ending earlier: the cut start is as good as the policy
    cut = Comparison("cut start", "", [], judged(np.ones(PROMPTS), np.ones(PROMPTS)))
    stopping = [replace(run, comparisons=[cut]) if run.reward == "cme" else run for run in runs]
    assert verdict("CME works", stopping).sides == ["supports", "not testable"]  # no room above it


def built(runs: list[RunRecord], build: int) -> list[RunRecord]:
    """The runs as records of a build of the checkpoints."""
    return [
        replace(
            run,
            run_id=f"{run.run_id}-{build}",
            experiment="main_table",
            generator_checkpoint=f"miniature:{run.family}-{build}/{run.regime}",
            config=run.config
            | {"scale": {"build": build}, "generator": f"miniature:{run.family}-{build}/{run.regime}"},
        )
        for run in runs
    ]


def test_the_main_table_pools_builds_and_compares_on_those_that_both_have(train: Train) -> None:
    """CME has two builds and five seeds, the other rewards have build 1 and three seeds; all rates are by hand."""
    start = qualities(0.0, 60)
    runs = built(train(start, perfect_on(0.8), seeds=5), 1)  # 90 %
    runs += built(train(start, perfect_on(0.75), seeds=5), 2)  # 87.5 %
    for reward, share in (("random", 0.0), ("ground_truth", 1.0), ("majority_vote", 0.2)):
        runs += built(train(start, perfect_on(share), reward=reward), 1)  # 50, 100 and 60 %
    evidence = Evidence.collect(Records(runs, [], [], [], []), "miniature", ("main_table", "rewards"))

    def parts(name: str) -> list[tuple[str, float, tuple[float, ...], int, str]]:
        found = verdict(name, evidence).parts
        return [(p.name, round(p.value, 6), p.by_build, p.seeds, p.scope) for p in found]

    builds, both = pytest.approx((90, 87.5)), "prompts, seeds, builds"
    assert parts("beats the untrained model") == [("Qwen pretrained", 88.75, builds, 5, both)]
    assert parts("CME works") == [
        ("Qwen pretrained: CME minus Random", 40, pytest.approx((40,)), 3, both),
        ("Qwen pretrained: CME against the cut start", 38.75, builds, 5, both),
    ]
    [against_votes] = parts("better than self-reference")
    assert against_votes[1:4] == (30, pytest.approx((30,)), 3)
    assert [part[1] for part in parts("majority vote fails")] == [10]
    assert verdict("CME works", evidence).verdict == "reproduced"


def test_the_room_for_a_difference_is_that_of_the_builds_that_both_have(train: Train) -> None:
    """Build 2 has room, build 1, the only one of the other method, has none."""
    full, empty = qualities(0.95, 60), qualities(0.0, 60)
    runs = [
        *built(train(full, perfect), 1),
        *built(train(empty, perfect), 2),
        *built(train(full, perfect, reward="reverse_kl"), 1),
        *built(train(full, perfect, reward="ground_truth"), 1),
    ]
    evidence = Evidence.collect(Records(runs, [], [], [], []), "miniature", ("main_table",))
    [part] = verdict("better than reverse KL", evidence).parts
    assert part.insensitive == "even a perfect policy would differ by 0.0 only"

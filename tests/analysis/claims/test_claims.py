"""Every claim on records whose numbers are known by hand, once so that it holds and once so that it does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from synthetic_records import separation_record

from analysis.claims.claim_list import all_claims
from analysis.claims.claims import Claim, rung
from analysis.claims.claims_course import late_change
from analysis.claims.evidence import Evidence, by_scale, clustered
from analysis.claims.rules import Result
from analysis.records.read import Records
from cme.records import (
    Accuracy,
    CheckpointResult,
    ExperimentRecord,
    Generation,
    Pair,
    RunRecord,
    SeparationRecord,
    Trajectory,
)

CLAIMS = {claim.name: claim for claim in all_claims()}
PROMPTS = 100
Runs = Callable[..., list[RunRecord]]


@pytest.fixture
def runs(make_record: Any, make_verdict: Any) -> Runs:
    """Runs of some seeds that won the first `wins` prompts, tied on the next, and lost or failed on others."""

    def made(
        wins: int, *, ties: int = 0, failed: int = 0, seeds: int = 3, both: bool = True, **fields: Any
    ) -> list[RunRecord]:
        def points(i: int) -> float | None:
            return 1 if i < wins else 0.5 if i < wins + ties else None if i >= PROMPTS - failed else 0

        orders = (True, False) if both else (True,)
        verdicts = [make_verdict(i, points(i), first) for i in range(PROMPTS) for first in orders]
        config = fields.pop("config", {})
        found = []
        for seed in range(seeds):
            run = make_record(seed=seed, verdicts=verdicts, config={"seed": seed, **config}, **fields)
            found.append(replace(run, run_id=f"{run.run_id}-{config}"))
        return found

    return made


def evidence(
    runs: Sequence[RunRecord], separations: Sequence[SeparationRecord] = (), scale: str = "miniature"
) -> Evidence:
    return by_scale(Records(list(runs), [], [], [], list(separations)), scale)


def judged(name: str, *groups: list[RunRecord], scale: str = "miniature") -> Result:
    """The result of a claim on runs that are enrolled in its first experiment."""
    claim = CLAIMS[name]
    enrolled = [replace(run, experiment=claim.experiments[0]) for group in groups for run in group]
    return claim.judge(evidence(enrolled, scale=scale), claim)


def values(result: Result) -> list[float]:
    return [round(part.value, 6) for part in result.parts]


FAMILY = {name: {"verifier": {"family": name}} for name in ("gemma", "qwen")}
DENSE = {"reward": {"granularity": "token"}}


def test_names_are_unique_and_each_claim_has_its_experiments() -> None:
    assert len(CLAIMS) == len(all_claims())
    assert all(claim.experiments and claim.rule.text and claim.published for claim in CLAIMS.values())


def full_grid(runs: Runs, wins: int, **fields: Any) -> list[RunRecord]:
    places = [(f, r) for f in ("qwen", "llama", "gemma", "olmo") for r in ("pretrained", "sft", "instruct")]
    return [run for f, r in places for run in runs(wins, family=f, regime=r, seeds=1, **fields)]


def test_cme_beats_its_start_only_where_every_cell_of_the_grid_does(runs: Runs) -> None:
    won = full_grid(runs, 75)
    found = judged("beats start", won)
    assert (found.verdict, len(found.parts), set(values(found))) == ("reproduced", 12, {75.0})
    part_of_it = judged("beats start", won[:2])
    assert part_of_it.verdict == "not testable here"
    assert "10 of the 12 cells have no run" in part_of_it.reason
    tied = runs(0, ties=PROMPTS, family="qwen", regime="pretrained", seeds=1)
    assert judged("beats start", won[1:], tied).verdict == "mixed"
    assert judged("beats start", tied).verdict == "not reproduced"  # part of the grid can refute
    assert judged("beats start", full_grid(runs, 20)).verdict == "not reproduced"


def test_dense_cme_and_other_rewards_are_not_the_main_table(runs: Runs) -> None:
    others = [*runs(90, config=DENSE), *runs(90, reward="random")]
    assert judged("beats start", others).reason == "no run of CME has a verdict"


def test_the_size_of_the_gain_is_compared_at_the_papers_scale_alone(runs: Runs) -> None:
    here = judged("size of the gain", runs(62))
    assert here.verdict == "not testable here" and "62.0 to 62.0 % at miniature scale" in here.reason
    at_paper = {
        wins: judged("size of the gain", runs(wins, scale="paper"), scale="paper") for wins in (62, 95)
    }
    assert at_paper[95].verdict == "not reproduced"
    assert at_paper[62].verdict == "not testable here"  # [52.1, 71.0] over 100 prompts is too wide
    assert values(at_paper[62]) == [62.0]


@pytest.mark.parametrize("name", ["majority vote fails", "token entropy fails"])
def test_a_reward_fails_where_it_loses(name: str, runs: Runs) -> None:
    reward = name.removesuffix(" fails").replace(" ", "_")
    found = judged(name, runs(30, reward=reward), runs(90))
    assert (found.verdict, values(found)) == ("reproduced", [30.0])
    assert judged(name, runs(70, reward=reward)).verdict == "not reproduced"
    both = judged(name, runs(30, reward=reward), runs(70, reward=reward, regime="sft"))
    assert (both.verdict, values(both)) == ("mixed", [30.0, 70.0])
    assert judged(name, runs(90)).verdict == "not testable here"


# Each case: a claim, and two methods by their settings; the claim holds where the first wins 80 and the other 60.
PAIRS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(
        ("better than self-reference", {}, {"reward": reward})
        for reward in ("majority_vote", "token_entropy", "self_certainty", "semantic_entropy")
    ),
    *(("better than DPO and SFT", {}, {"reward": reward}) for reward in ("dpo", "sft")),
    ("better than reverse KL", {}, {"reward": "reverse_kl"}),
    ("dense", {"config": DENSE}, {}),
    (
        "stronger verifier",
        {"verifier": "gemma", "config": FAMILY["gemma"]},
        {"verifier": "gemma_sft", "config": FAMILY["gemma"]},
    ),
    (
        "other family",
        {"verifier": "gemma_sft", "config": FAMILY["gemma"]},
        {"verifier": "qwen_sft", "config": FAMILY["qwen"]},
    ),
    (
        "independence protects",
        {"verifier": "gemma_instruct", "config": FAMILY["gemma"]},
        {"verifier": "qwen_instruct", "config": FAMILY["qwen"]},
    ),
]


@pytest.mark.parametrize(("name", "better", "worse"), PAIRS)
def test_one_method_against_another(
    name: str, better: dict[str, Any], worse: dict[str, Any], runs: Runs
) -> None:
    found = judged(name, runs(80, **better), runs(60, **worse))
    assert (found.verdict, values(found)) == ("reproduced", [20.0])
    turned = judged(name, runs(60, **better), runs(80, **worse))
    assert (turned.verdict, values(turned)) == ("not reproduced", [-20.0])
    alone = judged(name, runs(80, **better))
    assert alone.verdict == "not testable here" and not alone.parts
    elsewhere = judged(name, runs(80, **better), runs(60, regime="sft", **worse))
    assert elsewhere.verdict == "not testable here" and not elsewhere.parts  # other places are not compared


EQUALS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("KL weight", {"config": {"trainer": {"beta": 0.1}}}, {"config": {"trainer": {"beta": 0.0}}}, True),
    (
        "the gain saturates",
        {"verifier": "gemma", "config": FAMILY["gemma"]},
        {"verifier": "gemma_instruct", "config": FAMILY["gemma"]},
        True,
    ),
    (
        "norm of the advantages",
        {"config": {"trainer": {"scale_rewards": "none"}}},
        {"config": {"trainer": {"scale_rewards": "group"}}},
        False,
    ),
    (
        "independence protects",
        {"verifier": "llama_instruct", "config": FAMILY["gemma"]},
        {"verifier": "qwen_instruct", "config": FAMILY["qwen"]},
        False,
    ),
]


@pytest.mark.parametrize(("name", "one", "other", "equal_supports"), EQUALS)
def test_equal_methods(
    name: str, one: dict[str, Any], other: dict[str, Any], equal_supports: bool, runs: Runs
) -> None:
    equal = judged(name, runs(70, **one), runs(70, **other))
    assert values(equal) == [0.0]
    assert equal.verdict == ("reproduced" if equal_supports else "not reproduced")
    apart = judged(name, runs(80, **one), runs(50, **other))
    assert values(apart) == [30.0]
    assert apart.verdict == ("not reproduced" if equal_supports else "reproduced")


def test_a_ladder_of_verifiers(runs: Runs) -> None:
    ladder = {"random": 50, "gemma_pretrained": 60, "gemma": 80}
    made = [runs(wins, verifier=name, config=FAMILY["gemma"]) for name, wins in ladder.items()]
    own = runs(95, verifier="qwen", config=FAMILY["qwen"])
    start = runs(95, verifier="start", config=FAMILY["gemma"])
    assert values(judged("stronger verifier", *made, own, start)) == [30.0, 20.0]
    assert values(judged("the gain saturates", *made, own)) == [20.0]
    assert [rung(name) for name in ("random", "gemma_sft", "qwen_math", "start", "ensemble_instruct")] == [
        0,
        2,
        4,
        None,
        None,
    ]


def test_random_weights(runs: Runs) -> None:
    won, lost = (judged("random-weight verifier", runs(wins, verifier="random")) for wins in (70, 40))
    assert (won.verdict, values(won)) == ("reproduced", [70.0])
    assert (lost.verdict, values(lost)) == ("not reproduced", [40.0])
    assert judged("random-weight verifier", runs(70)).verdict == "not testable here"


def with_quality(run: RunRecord, early: float, late: float) -> RunRecord:
    """A run of 40 steps whose quality is `early` about a quarter of the way, `late` over the last tenth, else 0."""
    quality: list[float | None] = [0.0] * 40
    quality[8:12], quality[36:] = [early] * 4, [late] * 4
    return replace(run, history={"step": [float(i) for i in range(1, 41)], "quality": quality})


def test_over_optimisation_is_a_fall_of_true_quality(runs: Runs) -> None:
    def long(*lates: float) -> list[RunRecord]:
        made = runs(50, seeds=len(lates))
        return [with_quality(run, 0.5, late) for run, late in zip(made, lates, strict=True)]

    [run] = long(0.7)
    assert late_change(run) == pytest.approx(0.2)
    rose, fell = (
        judged("no over-optimisation", long(0.69, 0.7, 0.71)),
        judged("no over-optimisation", long(0.29, 0.3, 0.31)),
    )
    assert (rose.verdict, values(rose)) == ("reproduced", [0.2])
    assert rose.parts[0].lo == pytest.approx(
        0.2 - 4.302653 * 0.01 / 3**0.5
    )  # Student's t of two degrees of freedom
    assert (fell.verdict, values(fell)) == ("not reproduced", [-0.2])
    assert judged("no over-optimisation", long(0.69, 0.71)).verdict == "not testable here"  # two seeds
    assert judged("no over-optimisation", long(0.1, 0.5, 0.9)).verdict == "not testable here"  # too wide
    unmeasured = [replace(run, history={"step": run.history["step"], "quality": [None] * 40})]
    assert (
        judged("no over-optimisation", unmeasured).reason
        == "no long run of CME has its true quality measured"
    )


def with_checkpoints(run: RunRecord, *levels: float) -> RunRecord:
    """The run with 40 prompts' greedy quality, all alike: of the start, and of a checkpoint every 10 steps."""
    start, *later = ([level] * 40 for level in levels)
    path = [CheckpointResult(10 * (i + 1), [[0.5]] * 40, quality, {}) for i, quality in enumerate(later)]
    return replace(run, trajectory=Trajectory("oracle", [f"s{i}" for i in range(40)], start, path))


def test_greedy_responses_can_be_over_optimised_where_samples_are_not(runs: Runs) -> None:
    made = [
        with_checkpoints(with_quality(run, 0.5, 0.6), 0.1, 0.8, 0.9, 0.7, late)
        for run, late in zip(runs(50, seeds=3), (0.49, 0.5, 0.51), strict=True)
    ]
    found = judged("no over-optimisation", made)
    assert found.verdict == "mixed"
    sampled, greedy = found.parts
    assert sampled.name.endswith(": sampled") and greedy.name.endswith(": greedy")
    assert (round(sampled.value, 6), round(greedy.value, 6)) == (
        0.1,
        -0.3,
    )  # from step 10, a quarter of 40, on
    assert greedy.hi == pytest.approx(-0.3 + 4.302653 * 0.01 / 3**0.5)
    assert (greedy.prompts, greedy.seeds, greedy.about) == (40, 3, "prompts, seeds")


def mathematics(run: RunRecord, before: int, after: int) -> RunRecord:
    """A run with so many of 40 answers right before and after."""
    said = Generation("7", True, 1)
    pairs = [Pair(str(i), "q", None, said, said, "7") for i in range(40)]
    accuracy = Accuracy([i < before for i in range(40)], [i < after for i in range(40)])
    return replace(run, pairs=pairs, verdicts=[], accuracy=accuracy, config={"data": {"name": "arithmetic"}})


@pytest.mark.parametrize("name", ["mathematics improves", "whichever verifier"])
def test_mathematics(name: str, runs: Runs) -> None:
    def trained(before: int, after: int, **fields: Any) -> list[RunRecord]:
        return [mathematics(run, before, after) for run in runs(50, **{"reward": "cme_answer", **fields})]

    rose = judged(name, trained(10, 30))
    assert (rose.verdict, values(rose)) == ("reproduced", [50.0])
    fell = judged(name, trained(30, 10), trained(10, 30, reward="ground_truth_answer"))
    assert (fell.verdict, values(fell)) == ("not reproduced", [-50.0])
    both = judged(name, trained(10, 30), trained(30, 10, verifier="qwen"))
    assert (both.verdict, values(both)) == ("mixed", [50.0, -50.0])
    still = judged(name, trained(10, 10))
    # no change on any of 40 problems: by Wilson's bounds others could still change by more than the margin
    assert (still.verdict, values(still)) == ("not testable here", [0.0])


def test_random_weights_are_no_verifier_of_the_published_sweep(runs: Runs) -> None:
    random = [mathematics(run, 10, 30) for run in runs(50, reward="cme_answer", verifier="random")]
    assert judged("whichever verifier", random).verdict == "not testable here"


def on_separation(name: str, *records: SeparationRecord) -> Result:
    claim = CLAIMS[name]
    return claim.judge(evidence([], records), claim)


def test_separation() -> None:
    knows = separation_record(answer=True)
    assert on_separation("the verifier separates", knows).verdict == "reproduced"
    assert values(on_separation("the verifier separates", knows)) == [1.0]
    wrong = replace(knows, correct=[not right for right in knows.correct])
    assert on_separation("the verifier separates", wrong).verdict == "not reproduced"
    assert (
        on_separation("the verifier separates", knows, replace(wrong, separation_id="other")).verdict
        == "mixed"
    )
    assert on_separation("better than the generator", knows).verdict == "reproduced"
    assert on_separation("better than the generator", wrong).verdict == "not reproduced"
    assert on_separation("the answer's span", knows).verdict == "not reproduced"  # both are at 1
    blind = replace(
        knows, signals=knows.signals | {"cross_entropy verifier response": [0.5] * len(knows.responses)}
    )
    found = on_separation("the answer's span", blind)
    assert (found.verdict, values(found)) == ("reproduced", [0.5])
    assert on_separation("the answer's span", separation_record()).reason.startswith(
        "no data of these records has an answer span"
    )


def test_failed_calls(runs: Runs) -> None:
    moved = judged("failed calls as ties", runs(50, failed=20))
    assert (moved.verdict, values(moved)) == (
        "reproduced",
        [2.5],
    )  # 62.5 of the scored, 60 with ties for the failed
    assert "120 of 600 verdicts are of failed calls" in moved.reason
    still = judged("failed calls as ties", runs(49, failed=2))
    assert (still.verdict, values(still)) == ("not reproduced", [0.0])
    every = judged("failed calls as ties", runs(0, failed=PROMPTS))
    assert (every.verdict, values(every)) == ("reproduced", [50.0])
    none = judged("failed calls as ties", runs(50))
    assert none.verdict == "not testable here" and "none of the 600 verdicts" in none.reason


def test_position(runs: Runs) -> None:
    first = judged("position", runs(80, both=False))
    assert (first.verdict, values(first)) == ("reproduced", [80.0])  # always first, won 80 of 100
    second = judged("position", runs(20, both=False))
    assert (second.verdict, values(second)) == ("reproduced", [20.0])
    blind = judged("position", runs(80))
    assert (blind.verdict, values(blind)) == ("not reproduced", [50.0])
    assert judged("position", runs(0, ties=PROMPTS)).verdict == "not testable here"


def test_win_rates_that_would_pass_for_wins(runs: Runs) -> None:
    loose = judged("no interval", runs(55), runs(80, regime="sft"))
    assert loose.verdict == "reproduced" and loose.reason.startswith("1 of 2 cells of CME")
    assert judged("no interval", runs(80)).verdict == "not reproduced"
    assert judged("no interval", runs(40)).verdict == "not testable here"


def test_length(runs: Runs) -> None:
    shorter, longer = (
        judged("length", runs(50, response="ok")),
        judged("length", runs(50, response="no idea at all")),
    )
    assert (shorter.verdict, values(shorter)) == ("reproduced", [-5.0])  # `no idea` has seven characters
    assert (longer.verdict, values(longer)) == ("not reproduced", [7.0])
    assert judged("length", runs(50, regime="sft")).verdict == "not testable here"


def test_surprisal(runs: Runs) -> None:
    def surprised(before: float, after: float) -> list[RunRecord]:
        sides = Generation("a", True, 1, before), Generation("b", True, 1, after)
        return [
            replace(r, pairs=[Pair(p.prompt_id, p.prompt, None, *sides) for p in r.pairs]) for r in runs(50)
        ]

    likelier, unlikelier = (
        judged("likelier text", surprised(2.0, 1.5)),
        judged("likelier text", surprised(1.5, 2.0)),
    )
    assert (likelier.verdict, values(likelier)) == ("reproduced", [-0.5])
    assert (unlikelier.verdict, values(unlikelier)) == ("not reproduced", [0.5])
    assert judged("likelier text", runs(50)).verdict == "not testable here"


def test_clusters() -> None:
    mean, lo, hi = clustered([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
    assert mean == 1.0
    assert (lo, hi) == pytest.approx((1 - 4.302653 / 3**0.5, 1 + 4.302653 / 3**0.5))


def test_a_manifest_enrols_runs_and_seeds_widen_intervals(runs: Runs) -> None:
    claim: Claim = CLAIMS["majority vote fails"]
    made = [*runs(30, reward="majority_vote", seeds=2), *runs(45, reward="majority_vote", seeds=3)[2:]]
    enrolled = ExperimentRecord("rewards", "miniature", [run.run_id for run in made])
    found = by_scale(Records(made, [], [], [enrolled], []), "miniature")
    [part] = claim.judge(found, claim).parts
    assert (part.prompts, part.seeds, part.about, part.value) == (PROMPTS, 3, "prompts, seeds", 35.0)
    [cell] = found.cells(*claim.experiments)
    assert part.hi > cell.win.hi and part.lo < cell.win.lo
    stray = by_scale(Records(made, [], [], [], []), "miniature")
    assert claim.judge(stray, claim).verdict == "not testable here"


def test_scales_are_kept_apart(runs: Runs) -> None:
    both = [*runs(30, reward="majority_vote"), *runs(70, reward="majority_vote", scale="laptop")]
    enrolled = [replace(run, experiment="rewards") for run in both]
    verdicts = [
        CLAIMS["majority vote fails"]
        .judge(evidence(enrolled, scale=s), CLAIMS["majority vote fails"])
        .verdict
        for s in ("miniature", "laptop")
    ]
    assert verdicts == ["reproduced", "not reproduced"]

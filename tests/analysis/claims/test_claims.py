"""Every claim on records with known numbers, once so that it holds and once so that it does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from shown import blocks, problems
from synthetic_records import separation_record

from analysis.claims.claim_list import all_claims
from analysis.claims.evidence import Evidence, knowledge_level
from analysis.claims.rules import Result
from analysis.experiments.overoptimisation import OVEROPTIMISATION
from analysis.records.read import Records
from analysis.tables.training.courses import GREEDY, SAMPLED
from cme.records import (
    Accuracy,
    CheckpointResult,
    ExperimentRecord,
    FurtherJudge,
    Generation,
    Pair,
    RunRecord,
    SeparationRecord,
    Trajectory,
    Verdict,
    points,
)

CLAIMS = {claim.name: claim for claim in all_claims()}
PROMPTS = 100
UNTESTED = "not testable here"
T2 = 4.302653  # Student's t with two degrees of freedom
Runs = Callable[..., list[RunRecord]]
Group = dict[str, Any]


@pytest.fixture
def runs(make_record: Any, make_verdict: Any) -> Runs:
    """Runs of some seeds that won the first `wins` prompts, tied on the next, and lost or failed on the others."""

    def make(
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

    return make


def judged(name: str, *groups: list[RunRecord], scale: str = "miniature") -> Result:
    """The result of a claim on these runs."""
    return CLAIMS[name].judge(Evidence(scale, [run for group in groups for run in group]))


def known(made: list[RunRecord]) -> list[RunRecord]:
    """The runs with the oracle's scores: every response of the untrained model has quality 0.5."""

    def scored(verdict: Verdict) -> Verdict:
        policy = (1 + 2 * points(verdict)) / 4
        return replace(verdict, scores=(policy, 0.5) if verdict.policy_first else (0.5, policy))

    return [replace(run, verdicts=[scored(verdict) for verdict in run.verdicts]) for run in made]


def outcome(result: Result) -> tuple[str, list[float]]:
    return result.verdict, [round(part.value, 6) for part in result.parts]


def trainer(**settings: Any) -> Group:
    return {"config": {"trainer": settings}}


def verifier(name: str, family: str) -> Group:
    return {"verifier": name, "config": {"verifier": {"family": family}}}


DENSE: Group = {"config": {"reward": {"granularity": "token"}}}
MAJORITY: Group = {"reward": "majority_vote"}
ENTROPY: Group = {"reward": "token_entropy"}
CHANCE: Group = {"reward": "random"}
TRUTH: Group = {"reward": "ground_truth"}
SUPERVISED: Group = {"reward": "sft"}
SFT: Group = {"regime": "sft"}


def test_a_method_that_cannot_be_tested_is_not_covered_by_the_verdict_on_another(runs: Runs) -> None:
    """The truth wins 82.5 %: beyond the margin above DPO's 60, not above SFT's 80."""
    made = [known(runs(wins, **each)) for wins, each in ((95, {}), (60, {"reward": "dpo"}), (80, SUPERVISED))]
    truth = known(runs(82, ties=1, **TRUTH))
    assert judged("better than DPO", *made, truth).verdict == "reproduced"
    assert outcome(judged("better than SFT", *made, truth)) == (UNTESTED, [15.0])


def full_grid(runs: Runs, wins: int) -> list[RunRecord]:
    places = [(f, r) for f in ("qwen", "llama", "gemma", "olmo") for r in ("pretrained", "sft", "instruct")]
    return [run for f, r in places for run in runs(wins, family=f, regime=r, seeds=1)]


def test_cme_beats_the_untrained_model_only_in_a_whole_grid(runs: Runs) -> None:
    name = "beats the untrained model"
    won = full_grid(runs, 75)
    assert outcome(judged(name, won)) == ("reproduced", [75.0] * 12)
    part_of_it = judged(name, won[:2])
    assert part_of_it.verdict == "undecided" and "10 of the 12 cells" in part_of_it.reason
    lost = runs(20, family="qwen", regime="pretrained", seeds=1)
    assert judged(name, won[1:], lost).verdict == "not reproduced"  # a universal claim has no exception
    tied = runs(0, ties=PROMPTS, family="qwen", regime="pretrained", seeds=1)
    assert (
        judged(name, won[1:], tied).verdict == "undecided"
    )  # nothing shows that this cell could show a gain
    others = [*runs(90, **DENSE), *runs(90, reward="random")]
    assert not judged(name, others).parts  # dense CME and other rewards are not the main table


def test_the_size_of_the_gain_is_compared_at_the_papers_scale_alone(runs: Runs) -> None:
    name = "size of the gain"
    here = judged(name, runs(62))
    assert here.verdict == UNTESTED and "62.0 to 62.0 % at miniature scale" in here.reason
    assert judged(name, runs(95, scale="paper"), scale="paper").verdict == "not reproduced"
    wide = judged(name, runs(62, scale="paper"), scale="paper")
    assert outcome(wide) == ("undecided", [62.0])  # [52.1, 71.0] over 100 prompts is too wide


@pytest.mark.parametrize(
    ("name", "groups", "verdict", "values"),
    [
        (
            "majority vote fails",  # existential
            [(30, MAJORITY), (70, MAJORITY | SFT), (50, CHANCE), (50, CHANCE | SFT)],
            "reproduced",
            [-20, 20],
        ),
        (
            "token entropy fails",  # universal
            [(30, ENTROPY), (70, ENTROPY | SFT), (50, CHANCE), (50, CHANCE | SFT)],
            "not reproduced",
            [-20, 20],
        ),
        ("random-weight verifier", [(70, {"verifier": "random"})], "reproduced", [70]),
        ("failed calls as ties", [(50, {"failed": 20})], "reproduced", [2.5]),  # 62.5 scored, 60 with ties
        ("failed calls as ties", [(49, {"failed": 2})], "not reproduced", [0]),
        ("failed calls as ties", [(0, {"failed": PROMPTS})], "reproduced", [50]),
        ("position", [(80, {"both": False})], "reproduced", [80]),  # always first, won 80 of 100
        ("position", [(20, {"both": False})], "reproduced", [20]),
        ("position", [(0, {"ties": PROMPTS})], UNTESTED, []),
        ("position", [(80, {})], "undecided", [50]),  # each response is first once
        ("no interval", [(55, {}), (80, {"regime": "sft"})], "reproduced", [55, 80]),
        ("no interval", [(80, {})], "not reproduced", [80]),
        ("no interval", [(40, {})], UNTESTED, []),
        ("length", [(50, {"response": "ok"})], "reproduced", [-5]),  # `no idea` has seven characters
        ("length", [(50, {"response": "no idea at all"})], "not reproduced", [7]),
    ],
)
def test_claims_about_single_cells(
    name: str, groups: list[tuple[int, Group]], verdict: str, values: list[float], runs: Runs
) -> None:
    found = judged(name, *(runs(wins, **fields) for wins, fields in groups))
    assert outcome(found) == (verdict, values)
    if name == "failed calls as ties":
        assert f"{6 * groups[0][1]['failed']} of 600 verdicts are failed calls" in found.reason


def test_a_collapsed_policy_is_no_evidence_on_length(runs: Runs) -> None:
    def with_starts(run: RunRecord) -> RunRecord:
        pairs = [replace(p, start=replace(p.start, response=f"no idea {i}")) for i, p in enumerate(run.pairs)]
        return replace(run, pairs=pairs)

    assert outcome(judged("length", [with_starts(run) for run in runs(50, response="ok")]))[0] == UNTESTED


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        *(
            ("better than self-reference", {}, {"reward": reward})
            for reward in ("majority_vote", "token_entropy", "self_certainty", "semantic_entropy")
        ),
        ("better than DPO", {}, {"reward": "dpo"}),
        ("better than SFT", {}, {"reward": "sft"}),
        ("better than reverse KL", {}, {"reward": "reverse_kl"}),
        ("dense", DENSE, {}),
        ("stronger verifier", verifier("gemma", "gemma"), verifier("gemma_sft", "gemma")),
        ("other family", verifier("gemma_sft", "gemma"), verifier("qwen_sft", "qwen")),
    ],
)
def test_one_method_against_another_in_the_same_place(
    name: str, better: Group, worse: Group, runs: Runs
) -> None:
    assert outcome(judged(name, runs(80, **better), runs(60, **worse))) == ("reproduced", [20.0])
    elsewhere = judged(name, runs(80, **better), runs(60, regime="sft", **worse))
    assert outcome(elsewhere) == (UNTESTED, [])


@pytest.mark.parametrize(
    ("name", "one", "other", "equal", "apart"),
    [
        ("KL weight", trainer(beta=0.1), trainer(beta=0.0), "reproduced", "not reproduced"),
        (
            "the gain saturates",
            verifier("gemma", "gemma"),
            verifier("gemma_instruct", "gemma"),
            "reproduced",
            "not reproduced",
        ),
        (
            "norm of the advantages",
            trainer(scale_rewards="none"),
            trainer(scale_rewards="group"),
            "not reproduced",
            "reproduced",
        ),
    ],
)
def test_equal_methods(name: str, one: Group, other: Group, equal: str, apart: str, runs: Runs) -> None:
    truth = known(runs(95, **TRUTH))
    alike = known(runs(70, **one)), known(runs(70, **other))
    assert outcome(judged(name, *alike, truth)) == (equal, [0.0])
    assert outcome(judged(name, known(runs(80, **one)), known(runs(50, **other)), truth)) == (apart, [30.0])
    without = judged(name, *alike)  # nothing shows that a difference could have been seen
    assert outcome(without) == (UNTESTED, [0.0])
    assert "no run with the ground truth" in without.parts[0].insensitive


def test_a_ladder_of_verifiers(runs: Runs) -> None:
    ladder = {"random": 50, "gemma_pretrained": 60, "gemma": 80}
    made = [runs(wins, **verifier(name, "gemma")) for name, wins in ladder.items()]
    own, start = runs(95, **verifier("qwen", "qwen")), runs(95, **verifier("start", "gemma"))
    assert outcome(judged("stronger verifier", *made, own, start))[1] == [20.0]  # not 80 minus 50
    assert outcome(judged("the gain saturates", *made, own))[1] == [20.0]
    for name in ("stronger verifier", "the gain saturates"):
        assert outcome(judged(name, made[0], made[2])) == (UNTESTED, [])  # only random weights below it
    names = ("random", "gemma_50", "gemma_sft", "qwen_math", "start", "ensemble_instruct")
    assert [knowledge_level(name) for name in names] == [0, 2, 3, 7, None, None]


def with_quality(run: RunRecord, *levels: float | None) -> RunRecord:
    """A run with this sampled quality in each block of 20 steps."""
    quality = blocks(*levels)
    steps: list[float | None] = [float(i) for i in range(1, len(quality) + 1)]
    return replace(run, history={"step": steps, "quality": quality})


def test_over_optimisation_is_a_fall_of_true_quality_from_its_peak(runs: Runs) -> None:
    name = "no over-optimisation, sampled"

    def long(*lates: float, **fields: Any) -> list[RunRecord]:
        made = runs(50, seeds=len(lates), **fields)
        return [with_quality(run, 0.3, 0.5, late) for run, late in zip(made, lates, strict=True)]

    truth = long(0.59, 0.6, 0.61, **TRUTH)
    slightly = judged(name, long(0.47, 0.48, 0.49), truth)
    assert outcome(slightly) == ("reproduced", [-0.02])
    assert slightly.parts[0].lo == pytest.approx(-0.02 - T2 * 0.01 / 3**0.5)
    fallen = long(0.39, 0.4, 0.41)  # by 0.1, although they are better than they were at first
    assert outcome(judged(name, fallen, truth)) == ("not reproduced", [-0.1])
    assert outcome(judged(name, fallen)) == (UNTESTED, [-0.1])  # is it the reward, or any training?
    falls_too = judged(name, fallen, long(0.39, 0.4, 0.41, **TRUTH))
    assert falls_too.parts[0].insensitive.startswith("the ground truth does not pass the same test: -0.100 [")
    assert judged(name, long(0.39, 0.41), truth).verdict == "undecided"  # two seeds
    for levels in ((None, None), ()):  # not measured, and no whole block
        unmeasured = [with_quality(run, *levels) for run in (*runs(50), *runs(50, **TRUTH))]
        assert outcome(judged(name, unmeasured)) == (UNTESTED, [])
    perfect = [with_quality(run, 0.5, 1.0, 1.0) for run in (*runs(50), *runs(50, **TRUTH))]
    assert judged(name, perfect).sides == ["supports"]  # it cannot rise any more


def with_checkpoints(run: RunRecord, *levels: float) -> RunRecord:
    """The run with 40 prompts' greedy quality, all alike: of the start, and of a checkpoint every 10 steps."""
    start, *later = ([level] * 40 for level in levels)
    path = [CheckpointResult(10 * (i + 1), [[0.5]] * 40, quality, {}) for i, quality in enumerate(later)]
    return replace(run, trajectory=Trajectory("oracle", [f"s{i}" for i in range(40)], start, path))


def test_greedy_responses_can_be_over_optimised_where_samples_are_not(runs: Runs) -> None:
    def saved(levels: tuple[float, ...], **fields: Any) -> list[RunRecord]:
        return [
            with_checkpoints(with_quality(run, 0.5, 0.6), 0.1, 0.7, 0.8, 0.7, late)
            for run, late in zip(runs(50, seeds=3, **fields), levels, strict=True)
        ]

    made = saved((0.49, 0.5, 0.51)), saved((0.8, 0.81, 0.82), **TRUTH)
    assert outcome(judged("no over-optimisation, sampled", *made)) == ("reproduced", [0.0])
    found = judged("no over-optimisation, greedy", *made)
    assert outcome(found) == ("not reproduced", [-0.3])  # since step 20
    [greedy] = found.parts
    assert greedy.hi == pytest.approx(-0.3 + T2 * 0.01 / 3**0.5)
    assert greedy.freedom == pytest.approx(2)  # all prompts are alike, so only the seeds differ
    assert (greedy.prompts, greedy.seeds, greedy.scope) == (40, 3, "prompts, seeds")


def test_the_claims_about_over_optimisation_test_what_its_table_shows(runs: Runs) -> None:
    rng = np.random.default_rng(0)
    made = [
        with_checkpoints(with_quality(run, *rng.random(5)), *rng.random(5))
        for run in (*runs(50, seeds=4), *runs(50, seeds=4, **TRUTH))
    ]
    [view] = OVEROPTIMISATION.views(made)
    for responses in (SAMPLED, GREEDY):
        [part] = judged(f"no over-optimisation, {responses}", made).parts
        fall = next(course["fall"] for course in view.courses_of(responses) if course["label"] == "CME")
        assert (-part.value, -part.hi, -part.lo) == pytest.approx(tuple(fall))


def graded(
    runs: list[RunRecord], start: Sequence[bool | None], policy: Sequence[bool | None]
) -> list[RunRecord]:
    """The runs on problems that the untrained model and the policy have right or not as given."""
    answer = Generation("7", True, 1)
    pairs = [Pair(str(i), "q", None, answer, answer, "7") for i in range(len(start))]
    fields = {"pairs": pairs, "verdicts": [], "accuracy": Accuracy([*start], [*policy])}
    return [replace(run, config={"data": {"name": "arithmetic"}}, **fields) for run in runs]


@pytest.mark.parametrize("name", ["mathematics improves", "whichever verifier"])
def test_mathematics(name: str, runs: Runs) -> None:
    def trained(before: int, after: int, **fields: Any) -> list[RunRecord]:
        return graded(runs(50, **{"reward": "cme_answer", **fields}), problems(before), problems(after))

    truth = trained(10, 38, reward="ground_truth_answer")
    gained = judged(name, trained(10, 30), truth)
    assert outcome(gained) == ("reproduced", [50.0])
    t = stats.t(gained.parts[0].freedom)
    detected = (gained.parts[0].hi - 50) / t.ppf(0.975) * (t.ppf(0.975) + t.ppf(0.8))
    assert f"detect a change of {detected:.0f} points; the published change is +11 to +17" in gained.reason
    both = judged(name, trained(10, 30), trained(30, 10, verifier="qwen"), truth)
    assert outcome(both) == ("not reproduced", [50.0, -50.0])
    assert judged(name, trained(30, 10)).verdict == UNTESTED
    full = judged(name, trained(40, 40), trained(40, 40, reward="ground_truth_answer"))
    assert full.sides == ["not testable"]  # a perfect policy is never contradicted
    # no change on any of 40 problems: by Wilson's bounds others could still change
    assert outcome(judged(name, trained(10, 10), truth)) == ("undecided", [0.0])
    random = judged(name, trained(10, 30, verifier="random"))  # the published sweep has no random weights
    assert len(random.parts) == (name == "mathematics improves")


def test_claims_about_instructions_leave_out_mathematics(runs: Runs) -> None:
    """The same rewards on problems with one right answer, where CME loses and majority vote wins."""
    world, sums = ({"config": {"data": {"name": name}}} for name in ("world", "arithmetic"))
    instructions = [run for each in ({}, MAJORITY, CHANCE, TRUTH) for run in runs(70, **world, **each)]
    on_sums = [
        replace(run, accuracy=Accuracy(problems(10, 24), problems(20, 24)), experiment="rewards")
        for each, wins in (({}, 20), (MAJORITY, 90), (CHANCE, 5))
        for run in runs(wins, **sums, **each)
    ]
    planned = ExperimentRecord("rewards", "miniature", [run.run_id for run in instructions])
    for extra in ([], on_sums):
        records = Records([*instructions, *extra], [], [], [planned])
        evidence = Evidence.collect(records, "miniature", ("rewards",))
        assert outcome(CLAIMS["better than self-reference"].judge(evidence))[1] == [0]
        assert outcome(CLAIMS["majority vote fails"].judge(evidence))[1] == [0]
    both = Records([*instructions, *on_sums], [], [], [])
    mathematics = Evidence.collect(both, "miniature", ("rewards",), mathematics=True)
    assert {run.data for run in (*mathematics.runs, *mathematics.controls)} == {"arithmetic"}


def test_seeds_at_their_floor_are_marked_in_claims_on_accuracy(runs: Runs) -> None:
    """All seeds have 20 of 40 right; the same ones, so that nothing is left over, or others by seed."""
    marks = []
    for shift in (0, 1):
        trained = []
        for run in runs(50, reward="cme_answer"):
            right = [(i + shift * run.seed) % 40 < 20 for i in range(40)]
            trained += graded([run], problems(0), right)
        [part] = judged("mathematics improves", trained).parts
        marks.append(part.floored)
    assert marks == [False, True]


def test_accuracy_has_the_degrees_of_freedom_of_prompts_and_seeds_together(runs: Runs) -> None:
    right = [[i < number for i in range(40)] for number in (25, 15, 5)]
    made = zip(runs(50, reward="cme_answer"), right, strict=True)
    [part] = judged("mathematics improves", *(graded([run], [False] * 40, own) for run, own in made)).parts
    grades = np.array(right, dtype=float).T
    by_seed, by_prompt = grades.mean(axis=0), grades.mean(axis=1)
    rest = grades - by_prompt[:, None] - by_seed + grades.mean()
    over_prompts = by_prompt.var(ddof=1) / 40
    over_seeds = (by_seed.var(ddof=1) - (rest**2).sum() / (39 * 2) / 40) / 3
    welch = (over_prompts + over_seeds) ** 2 / (over_prompts**2 / 39 + over_seeds**2 / 2)
    half = 100 * np.hypot(stats.t.ppf(0.975, 39) * over_prompts**0.5, T2 * over_seeds**0.5)
    assert (part.value, part.hi - part.value) == pytest.approx((37.5, half))
    assert part.freedom == pytest.approx(welch)
    t = stats.t(welch)
    assert part.detectable == pytest.approx(half / t.ppf(0.975) * (t.ppf(0.975) + t.ppf(0.8)))


def test_accuracy_pools_the_seeds_of_builds_and_pairs_each_with_its_own_untrained_model(runs: Runs) -> None:
    """In both builds 20 of 40 problems become right; the second build's untrained model has 10 others right."""
    made = []
    for build, known in ((0, 0), (1, 10)):
        start = [i >= 40 - known for i in range(40)]
        policy = [i < 20 or right for i, right in enumerate(start)]
        made += [
            replace(run, run_id=f"{run.run_id}-{build}", seed=run.seed + 100 * build)
            for run in graded(runs(50, reward="cme_answer"), start, policy)
        ]
    [part] = judged("mathematics improves", made).parts
    over_prompts = stats.ttest_1samp([1.0] * 20 + [0.0] * 20, 0).confidence_interval(0.95)
    assert (part.lo, part.hi) == pytest.approx((100 * over_prompts.low, 100 * over_prompts.high))
    assert part.by_build == pytest.approx((50.0, 50.0))
    assert (part.seeds, part.scope) == (3, "prompts, seeds, builds") and part.freedom == pytest.approx(39)


def on_separation(name: str, *records: SeparationRecord) -> Result:
    return CLAIMS[name].judge(Evidence("miniature", [], records))


def test_separation() -> None:
    knows = separation_record(answer=True)
    wrong = replace(knows, separation_id="other", correct=[not right for right in knows.correct])
    blind = {"cross_entropy verifier response": [0.5] * len(knows.responses)}
    half = replace(knows, signals=knows.signals | blind)
    assert outcome(on_separation("the verifier separates", knows)) == ("reproduced", [1.0])
    assert on_separation("the verifier separates", knows, wrong).verdict == "not reproduced"
    assert on_separation("better than the generator", knows).verdict == "reproduced"
    assert on_separation("better than the generator", wrong).verdict == "not reproduced"
    assert on_separation("the answer's span", knows).verdict == "not reproduced"  # both are at 1
    assert outcome(on_separation("the answer's span", half)) == ("reproduced", [0.5])
    assert outcome(on_separation("the answer's span", separation_record())) == (UNTESTED, [])


def test_separation_pools_the_builds_of_a_generator() -> None:
    right = replace(separation_record(answer=True), generator_checkpoint="miniature:qwen-1/sft")
    blind = {"cross_entropy verifier response": [0.5] * len(right.responses)}
    chance = replace(
        right, separation_id="b", generator_checkpoint="miniature:qwen-2/sft", signals=right.signals | blind
    )
    [alone] = on_separation("the verifier separates", right).parts
    [other] = on_separation("the verifier separates", chance).parts
    [part] = on_separation("the verifier separates", right, chance).parts
    assert (alone.value, other.value, part.value) == (1.0, 0.5, 0.75)
    assert (part.by_build, part.scope, part.seeds) == ((1.0, 0.5), "prompts, builds", 1)
    # the mean of the two lower bounds, and the spread of two builds with Student's t on one degree of freedom
    below = 0.75 - (alone.lo + other.lo) / 2
    spread = np.std([1.0, 0.5], ddof=1) / np.sqrt(2) * stats.t.ppf(0.975, 1)
    assert part.lo == pytest.approx(0.75 - np.hypot(below, spread))
    # records of one build are no replicates of each other
    again = replace(right, separation_id="c")
    apart = on_separation("the verifier separates", right, again).parts
    assert [len(part.by_build) for part in apart] == [1, 1]


def test_likelier_text_has_a_lower_surprisal(runs: Runs) -> None:
    def surprised(before: float, after: float) -> list[RunRecord]:
        sides = Generation("a", True, 1, before), Generation("b", True, 1, after)
        return [
            replace(r, pairs=[Pair(p.prompt_id, p.prompt, None, *sides) for p in r.pairs]) for r in runs(50)
        ]

    assert outcome(judged("likelier text", surprised(2.0, 1.5))) == ("reproduced", [-0.5])
    assert outcome(judged("likelier text", surprised(1.5, 2.0))) == ("not reproduced", [0.5])
    second = [replace(run, run_id=f"{run.run_id}-2", seed=run.seed + 100) for run in surprised(2.0, 1.7)]
    [part] = judged("likelier text", [*surprised(2.0, 1.5), *second]).parts
    assert (part.value, part.by_build) == (pytest.approx(-0.4), pytest.approx((-0.5, -0.3)))
    assert part.scope == "prompts, seeds, builds"


def test_evidence_is_the_runs_of_one_scale_in_a_plan_or_of_the_experiment(runs: Runs) -> None:
    claim = CLAIMS["beats the untrained model"]
    made = [*runs(30, seeds=2), *runs(45, seeds=3)[2:]]
    laptop = runs(20, scale="laptop")
    plan = ExperimentRecord("main_table", "miniature", [run.run_id for run in made])
    records = Records([*made, *laptop], [], [], [plan], [])
    found = Evidence.collect(records, "miniature", claim.experiments)
    [part] = claim.judge(found).parts
    assert (part.prompts, part.seeds, part.scope, part.value) == (PROMPTS, 3, "prompts, seeds", 35.0)
    [cell] = found.cells  # seeds widen the interval
    assert part.hi > cell.win.hi and part.lo < cell.win.lo
    assert Evidence.collect(records, "laptop", claim.experiments).runs == []
    own = Records([replace(run, experiment="main_table") for run in laptop], [], [], [], [])
    assert len(Evidence.collect(own, "laptop", claim.experiments).runs) == 3


def test_a_judge_added_later_changes_no_claim(runs: Runs) -> None:
    claim = CLAIMS["beats the untrained model"]
    made = [replace(run, experiment="main_table") for run in runs(80)]
    added = [
        replace(run, further_judges=[FurtherJudge("local", {}, other.verdicts, 1.0)])
        for run, other in zip(made, runs(20), strict=True)
    ]
    alone, beside = (
        claim.judge(Evidence.collect(Records(each, [], [], [], []), "miniature", claim.experiments))
        for each in (made, added)
    )
    assert beside == alone and [part.value for part in alone.parts] == [80]

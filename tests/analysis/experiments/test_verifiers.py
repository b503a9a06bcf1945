"""Experiments on verifiers: relation, own quality, gains, order and the claims' verdicts, by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from shown import marks, panels, problems, smallest_type, texts

from analysis.experiments.facts import arm_of
from analysis.experiments.independence import INDEPENDENCE
from analysis.experiments.verifier_sweep import (
    VERIFIER_SWEEP,
    VERIFIER_SWEEP_MATH,
    accuracy_plot,
    quality_plot,
)
from analysis.experiments.verifier_tests import (
    count_gains,
    describe_ability_effect,
    describe_knowledge_effect,
)
from analysis.experiments.verifiers import (
    VerifierOutcome,
    accuracy_outcomes,
    own_quality,
    quality_outcomes,
    verifier_labels,
)
from analysis.figures.style import RELATIONS
from analysis.records.relations import knowledge, relation
from cme.records import CUT_START, Accuracy, Comparison, Generation, Pair, RunRecord, Verdict

Under = Callable[..., RunRecord]
PROBLEMS = 40
CHECKPOINTS = {
    "random": ("gemma", "random:miniature:gemma-1/verifier"),
    "start": ("qwen", "miniature:qwen-1/pretrained"),
    "qwen_instruct": ("qwen", "miniature:qwen-1/instruct"),
    "gemma_instruct": ("gemma", "miniature:gemma-1/instruct"),
    "llama_instruct": ("llama", "miniature:llama-1/instruct"),
    "ensemble_instruct": ("gemma", "miniature:gemma-1/instruct, miniature:llama-1/instruct"),
    "qwen": ("qwen", "miniature:qwen-1/verifier"),
}


@pytest.fixture
def under(make_record: Any) -> Under:
    """A run with a verifier; on each prompt the untrained model has quality 0.4 and the policy the given one."""

    def make(verifier: str, policy: Sequence[float], seed: int = 0, **fields: Any) -> RunRecord:
        family, checkpoint = CHECKPOINTS[verifier]
        verdicts = [
            Verdict(f"p{i}", True, "first" if q > 0.4 else "second" if q < 0.4 else "tie", scores=(q, 0.4))
            for i, q in enumerate(policy)
        ]
        config = {
            "data": {"name": "arithmetic"},
            "reward": {"ensemble": "mean"},
            "verifier": {"name": verifier, "family": family},
            "trainer": {"beta": 0.0},
        }
        run = make_record(verifier=verifier, seed=seed, verdicts=verdicts, steps=60, config=config)
        return replace(run, verifier_checkpoint=checkpoint, **fields)

    return make


@pytest.fixture
def graded_under(under: Under) -> Under:
    """A run with a verifier on 40 problems: the first 10 are right before training, the first `right` after."""

    def make(verifier: str, right: int, seed: int = 0, own: float | None = None) -> RunRecord:
        answer = Generation("7", True, 1)
        return under(
            verifier,
            [],
            seed,
            reward="cme_answer",
            pairs=[Pair(f"p{i}", "q", None, answer, answer, "7") for i in range(PROBLEMS)],
            accuracy=Accuracy(problems(10), problems(right)),
            verifier_quality=None if own is None else [own] * PROBLEMS,
        )

    return make


def around(level: float, prompts: int = 40) -> list[float]:
    """Qualities whose mean is the level, 0.1 above and below it in turn."""
    return [level + (0.1 if i % 2 else -0.1) for i in range(prompts)]


@pytest.mark.parametrize(
    ("verifier", "related", "knows"),
    [
        ("random", "random weights", "random"),
        ("start", "itself", "pretrained"),
        ("qwen_instruct", "same family", "instruct"),
        ("gemma_instruct", "other family", "instruct"),
        ("ensemble_instruct", "ensemble", "instruct"),
        ("qwen", "same family", "verifier"),
    ],
)
def test_relations_are_read_from_the_checkpoints(
    under: Under, verifier: str, related: str, knows: str
) -> None:
    run = under(verifier, around(0.5))
    assert (relation(run), knowledge(run)) == (related, knows) and related in RELATIONS


def test_settings_are_not_pooled_under_a_verifiers_name(under: Under) -> None:
    runs = [under(v, around(0.5)) for v in ("start", "qwen")]
    assert set(verifier_labels(runs).values()) == {"Untrained generator", "Qwen"}
    other = replace(runs[1], run_id="other", config={**runs[1].config, "trainer": {"beta": 0.1}})
    found = verifier_labels([*runs, other])
    assert len(set(found.values())) == 3 and "beta" in found["other"]


def test_an_ensemble_has_one_name_in_every_table_of_verifiers(under: Under) -> None:
    one = replace(under("ensemble_instruct", around(0.5)), verifier="ensemble")
    runs = [
        replace(one, run_id=how, config={**one.config, "reward": {"ensemble": how}})
        for how in ("mean", "min")
    ]
    labels = verifier_labels([*runs, under("qwen", around(0.5))])
    for run in runs:
        assert labels[run.run_id] == arm_of(run) == f"Ensemble ({run.run_id})"


def test_gains_and_own_quality_are_means_over_prompts_and_seeds(under: Under) -> None:
    own = [0.0, 1.0, 1.0, 1.0] * 10
    runs = [
        under("qwen", around(0.5 + 0.1 * seed), seed, verifier_quality=own if seed == 1 else None)
        for seed in range(3)
    ]
    [found] = quality_outcomes(runs)
    assert found.gain.value == pytest.approx(0.2)  # 0.5, 0.6, 0.7 minus 0.4
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert found.own == pytest.approx((0.75, wilson.low, wilson.high), abs=0.01)
    assert np.isnan(own_quality([under("start", around(0.5))])).all()
    other = under(
        "qwen", around(0.5), generator_checkpoint="miniature:qwen-2/sft", verifier_quality=[0.5] * 40
    )
    assert own_quality([runs[1], other]).value == pytest.approx((0.75 + 0.5) / 2)  # the mean over builds


def test_the_section_on_independence_is_whole_without_known_false_beliefs(
    under: Under, tmp_path: Path
) -> None:
    verifiers = ("gemma_instruct", "qwen_instruct", "start", "random", "ensemble_instruct")
    runs = [under(v, around(0.5 + 0.01 * s), s) for v in verifiers for s in range(3)]
    controls = [replace(run, run_id=f"{run.run_id}-x", reward="ground_truth") for run in runs[:3]]
    part = INDEPENDENCE.show([*runs, *controls], tmp_path)
    [outcomes] = part.tables
    assert [row[0] for row in texts(outcomes)][:2] == ["Ground truth (no verifier)", "Random weights"]
    assert {row[1] for row in texts(outcomes)} == set(RELATIONS) - {"random reward"}
    assert "scale: miniature" in outcomes.title and len(part.images) == 1


def test_the_sweep_orders_verifiers_by_their_own_quality(under: Under, tmp_path: Path) -> None:
    own = {"gemma_instruct": 0.9, "start": 0.2, "qwen_instruct": 0.5, "random": 0.6}
    level = {"gemma_instruct": 0.6, "start": 0.5, "qwen_instruct": 0.7, "random": 0.45}
    runs = [under(v, around(level[v]), s, verifier_quality=[own[v]] * 40) for v in own for s in range(3)]
    ours, published = map(texts, VERIFIER_SWEEP.show(runs, tmp_path).tables)
    assert [row[4].split()[0] for row in ours] == ["+0.050", "+0.100", "+0.300", "+0.200"]
    assert [row[2].split()[0] for row in ours] == ["0.600", "0.200", "0.500", "0.900"]  # random weights first
    assert published[0] == ["random-weight Llama (control)", "random weights", "55.8", "22.8"]
    [plot] = quality_plot(VERIFIER_SWEEP.views(runs)[0])
    drawn = marks(plot.figure)
    assert drawn[1] == pytest.approx([0.05, 0.1, 0.2, 0.3])
    assert drawn[3] == [55.8, 59.2, 63.0, 64.2, 64.2, 65.0, 70.0, 70.0]  # on an axis of their own
    assert smallest_type(plot.figure) >= 8


def test_the_controls_of_the_win_rates_stand_beside_them(under: Under, tmp_path: Path) -> None:
    """The untrained model wins a quarter of the prompts against its cut responses and ties on the others."""
    start = [Verdict(f"p{i}", True, "first" if i < 10 else "tie", scores=(0.4, 0.4)) for i in range(40)]
    runs = []
    for verifier in ("start", "qwen"):
        for seed in range(3):
            run = under(verifier, around(0.6), seed)
            cut = Comparison(CUT_START, run.generator_checkpoint, [], run.verdicts, start)
            runs.append(replace(run, comparisons=[cut]))
    ours, _ = VERIFIER_SWEEP.show(runs, tmp_path).tables
    assert ours.header[-3:] == ["cut start (%)", "against the cut start (%)", "ceiling (%)"]
    assert [(row[-3], row[-1]) for row in texts(ours)] == [("37.5", "100.0")] * 2
    assert all(row[-2].startswith("100.0 [") for row in texts(ours))
    [plot] = quality_plot(VERIFIER_SWEEP.views(runs)[0])
    own, gain, win = panels(plot.figure)[:3]
    assert own.get_yticklabels()[-1].get_text() == "Cut start"
    assert marks(plot.figure)[2] == [37.5, 100, 100] and "perfect policy" in plot.caption
    [ceiling] = [path for lines in win.collections for path in lines.get_paths()]
    assert [x for x, _ in ceiling.vertices] == [100, 100]
    ticks = [x for line in gain.lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert ticks == pytest.approx([0.2] * 6)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.1, 0.2, 0.3, 0.41, 0.5, 0.62), "supported here"),
        ((0.62, 0.5, 0.41, 0.3, 0.2, 0.1), "refuted here"),
        ((0.3, 0.1, 0.3, 0.1, 0.3, 0.1), "undecided"),
        ((0.3, 0.1, 0.2), "not testable here"),
    ],
)
def test_knowledge_is_judged_by_its_partial_correlation_with_the_gain(
    under: Under, gains: Sequence[float], verdict: str
) -> None:
    """Gemma's verifiers, each with another own quality; controls and random weights, far off, do not count."""
    runs = [
        replace(
            under("gemma_instruct", around(0.4 + gain), verifier_quality=[0.3 + 0.1 * i] * 40),
            run_id=f"run{i}",
            verifier=f"gemma_{i}",
        )
        for i, gain in enumerate(gains)
    ]
    off = under("random", around(0.2), verifier_quality=[5.0] * 40)
    truth = replace(
        under("qwen", around(0.9), verifier_quality=[0.0] * 40), run_id="x", reward="ground_truth"
    )
    text = describe_knowledge_effect(quality_outcomes([*runs, off, truth]))
    assert f"is {verdict}" in text and f"over {len(gains)} verifiers" in text


def math_outcomes(graded_under: Under, **right: Sequence[int]) -> list[VerifierOutcome]:
    """The outcomes of a run per verifier and seed, with so many problems right after training."""
    return accuracy_outcomes(
        [graded_under(v, n, seed) for v, each in right.items() for seed, n in enumerate(each)]
    )


def test_pass_at_1_and_its_change_by_verifier(graded_under: Under) -> None:
    """10 problems right before, 20 after; where seeds agree, the interval is the paired t interval over problems."""
    [found] = math_outcomes(graded_under, qwen=[20, 20, 20])
    assert [found.share(when).value for when in ("before", "after")] == pytest.approx([25, 50])
    assert (found.relation, found.knowledge) == ("same family", "verifier") and np.isnan(found.own).all()
    gains = np.array([0] * 10 + [1] * 10 + [0] * 20)
    half = stats.t.ppf(0.975, 39) * gains.std(ddof=1) / np.sqrt(PROBLEMS)
    assert found.gain == pytest.approx((25, 25 - 100 * half, 25 + 100 * half))
    run = graded_under("qwen", 20)
    [none] = accuracy_outcomes([replace(run, pairs=[replace(p, answer=None) for p in run.pairs])])
    assert none.change is None and none.share("after").text() == none.gain.text() == "n/a"


def test_random_weights_come_first_and_the_others_by_own_quality_or_knowledge(graded_under: Under) -> None:
    own = {"qwen": 0.3, "gemma_instruct": 0.9, "start": 0.6, "random": 0.5}
    runs = [graded_under(v, 20, own=quality) for v, quality in own.items()]
    by_quality = ["Random weights", "Qwen", "Untrained generator", "Gemma instruct"]
    by_knowledge = ["Random weights", "Untrained generator", "Gemma instruct", "Qwen"]
    assert [o.label for o in accuracy_outcomes(runs)] == by_quality
    unknown = [runs[0], replace(runs[1], verifier_quality=None), *runs[2:]]
    assert [o.label for o in accuracy_outcomes(unknown)] == by_knowledge


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ([30, 31, 32], "above 0 with 3 of 3 verifiers, without random weights."),
        ([0, 1, 0], "with 2 of 3 verifiers, without random weights, below 0 with Untrained generator."),
        ([30, 31], "it is unknown with Untrained generator: fewer than 3 seeds."),
    ],
)
def test_the_change_with_each_verifier_is_told_without_a_verdict(
    graded_under: Under, start: list[int], text: str
) -> None:
    """Random weights, with which accuracy falls, do not count."""
    right = {"random": [0, 0, 1], "start": start, "gemma_instruct": [30] * 3, "qwen": [30, 30, 31]}
    note = count_gains(math_outcomes(graded_under, **right))
    assert text in note and "supported" not in note and "refuted" not in note


@pytest.mark.parametrize(
    ("able", "verdict"),
    [([30, 31, 32], "supported here"), ([20, 19, 21], "not supported"), ([2, 3, 4], "refuted here")],
)
def test_the_most_able_verifier_against_random_weights(
    graded_under: Under, able: list[int], verdict: str
) -> None:
    text = describe_ability_effect(math_outcomes(graded_under, random=[20, 20, 20], qwen=able))
    assert f" is {verdict}: " in text and f" {100 * (sum(able) / 120 - 0.5):+.1f} [" in text
    assert "No comparison" in describe_ability_effect(math_outcomes(graded_under, qwen=able))


def test_each_reward_is_a_sweep_of_its_own_beside_the_published_one(
    graded_under: Under, tmp_path: Path
) -> None:
    def renamed(run: RunRecord, reward: str) -> RunRecord:
        return replace(run, reward=reward, run_id=f"{reward}-{run.run_id}")

    right = {"random": 8, "start": 12, "qwen": 30}
    by_answer = [graded_under(v, n, seed, own=0.5) for v, n in right.items() for seed in range(3)]
    whole = [renamed(graded_under("qwen", 30, seed), "cme_whole") for seed in range(3)]
    control = [renamed(graded_under("qwen", 9, seed), "random") for seed in range(3)]
    runs = [*by_answer, *whole, *control]
    answer, published, response = VERIFIER_SWEEP_MATH.show(runs, tmp_path).tables
    assert [row[8].split()[0] for row in texts(answer)] == ["-2.5", "-5.0", "+5.0", "+50.0"]
    assert [row[8].split()[0] for row in texts(response)] == ["-2.5", "+50.0"]
    assert "CME (answer span)" in answer.title and "CME (whole response)" in response.title
    assert texts(published)[0][2:] == ["n/a", "58"]  # a parsing failure of the source
    assert "paper" not in answer.title and "paper's scale" in published.title
    [plot] = accuracy_plot(VERIFIER_SWEEP_MATH.views(by_answer)[0])
    drawn = marks(plot.figure)
    assert drawn[1] == pytest.approx([20, 25, 25, 25, 30, 75]) and drawn[2] == pytest.approx([-5, 5, 50])
    assert drawn[3] == [10, 27, 30, 42, 45, 69, 76] and drawn[4] == [55, 58, 59, 59, 60, 60, 60, 61]
    assert smallest_type(plot.figure) >= 8

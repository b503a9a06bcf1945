"""The verifier sweep on mathematics: shares, changes, order and the claims' verdicts, by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats

from analysis.experiments import verifier_sweep_math as sweep
from analysis.experiments._arms import arm, arms
from analysis.sections.base import NothingToShow
from analysis.tables.render import to_markdown
from cme.records import Accuracy, Generation, Pair, RunRecord

Under = Callable[..., RunRecord]
SAID = Generation("7", True, 1)
PROBLEMS = 40
CHECKPOINTS = {
    "random": ("gemma", "random:miniature:gemma/verifier"),
    "start": ("qwen", "miniature:qwen/sft"),
    "gemma_instruct": ("gemma", "miniature:gemma/instruct"),
    "qwen": ("qwen", "miniature:qwen/verifier"),
}


@pytest.fixture
def under(make_record: Any) -> Under:
    """A run under a verifier, of 40 problems of which the first 10 are right before and the first `right` after."""

    def made(verifier: str, right: int, seed: int = 0, own: float | None = None) -> RunRecord:
        family, checkpoint = CHECKPOINTS[verifier]
        config = {
            "seed": seed,
            "data": {"name": "arithmetic"},
            "verifier": {"name": verifier, "family": family},
            "trainer": {"beta": 0.0},
        }
        of: RunRecord = make_record(
            regime="sft", reward="cme_answer", verifier=verifier, seed=seed, config=config
        )
        return replace(
            of,
            verifier_checkpoint=checkpoint,
            pairs=[Pair(f"p{i}", "q", None, SAID, SAID, "7") for i in range(PROBLEMS)],
            verdicts=[],
            accuracy=Accuracy(*([i < n for i in range(PROBLEMS)] for n in (10, right))),
            verifier_quality=None if own is None else [own] * PROBLEMS,
        )

    return made


def sweep_of(under: Under, **right: Sequence[int]) -> list[RunRecord]:
    """A run a verifier and seed, with so many problems right after training."""
    return [under(v, n, seed) for v, each in right.items() for seed, n in enumerate(each)]


def test_pass_at_1_and_its_change_by_verifier(under: Under) -> None:
    """10 problems right before, 20 after; where seeds agree, the interval is the paired t interval over problems."""
    [of] = arms(sweep_of(under, qwen=[20, 20, 20]))
    assert of.shares["before"] == pytest.approx(0.25) and of.shares["after"] == pytest.approx(0.5)
    assert (of.kin, of.knowledge) == ("same family", "verifier") and np.isnan(of.own).all()
    gains = np.array([0] * 10 + [1] * 10 + [0] * 20)
    half = stats.t.ppf(0.975, 39) * gains.std(ddof=1) / np.sqrt(PROBLEMS)
    assert sweep.wide(of.change) == pytest.approx((25, 25 - 100 * half, 25 + 100 * half))
    [apart] = arms(sweep_of(under, qwen=[10, 20, 30]))
    assert sweep.wide(apart.change)[0] == pytest.approx(25) and sweep.wide(apart.change)[1] < 0
    [two] = arms(sweep_of(under, qwen=[20, 20]))
    assert np.isnan(sweep.wide(two.change)[1:]).all() and two.shares["after_lo"] > 0


def test_problems_that_are_not_graded_on_both_sides_are_left_out_and_counted(under: Under) -> None:
    run = under("qwen", 20)
    assert run.accuracy is not None
    pairs = [replace(run.pairs[0], answer=None), *run.pairs[1:]]
    after = [run.accuracy.policy[0], None, *run.accuracy.policy[2:]]
    of = arm("qwen", [replace(run, pairs=pairs, accuracy=replace(run.accuracy, policy=after))])
    assert (of.shares["prompts"], of.shares["no_answer"], of.shares["undecided"]) == (38, 1, 1)
    assert of.after is not None and of.after.rate == pytest.approx(18 / 38)
    without = arm("qwen", [replace(run, pairs=[replace(p, answer=None) for p in run.pairs])])
    assert without.change is None and sweep.points(without.change) == "n/a"
    assert sweep.share_text(without, "after") == "n/a"


def test_random_weights_come_first_and_the_others_by_own_quality_or_knowledge(under: Under) -> None:
    own = {"qwen": 0.3, "gemma_instruct": 0.9, "start": 0.6, "random": 0.5}
    runs = [under(v, 20, own=quality) for v, quality in own.items()]
    assert [of.label for of in arms(runs)] == ["random", "qwen", "start", "gemma_instruct"]
    unknown = [runs[0], replace(runs[1], verifier_quality=None), *runs[2:]]
    assert [of.label for of in arms(unknown)] == ["random", "start", "gemma_instruct", "qwen"]


@pytest.mark.parametrize(
    ("start", "instruct", "word"),
    [
        ([30, 31, 32], [30, 30, 30], "is supported here: it rises for certain under 3 of 3 verifiers"),
        ([30, 31, 32], [10, 20, 5], "is not supported: it rises for certain under 2 of 3"),
        ([0, 1, 0], [30, 30, 30], "is refuted here: it rises for certain under 2 of 3"),
        ([30, 31], [30, 30, 30], "is not testable: fewer than 3 runs a side"),
    ],
)
def test_whichever_verifier(under: Under, start: list[int], instruct: list[int], word: str) -> None:
    """Random weights, under which accuracy falls, are no part of the claim."""
    runs = sweep_of(under, random=[0, 0, 1], start=start, gemma_instruct=instruct, qwen=[30, 30, 31])
    said = sweep.whichever("qwen sft", arms(runs))
    assert word in said and ("falls under start" in said) == ("refuted" in word)


@pytest.mark.parametrize(
    ("able", "word"),
    [([30, 31, 32], "supported here"), ([20, 19, 21], "not supported"), ([2, 3, 4], "refuted here")],
)
def test_able_against_random(under: Under, able: list[int], word: str) -> None:
    said = sweep.against_random("qwen sft", arms(sweep_of(under, random=[20, 20, 20], qwen=able)))
    assert f"that a verifier must be able is {word}: pass@1 under qwen less" in said
    difference = 100 * (sum(able) / 120 - 0.5)
    assert f"is {difference:+.1f} [" in said
    alone = sweep.against_random("qwen sft", arms(sweep_of(under, qwen=able)))
    assert "no random weights" in alone


def test_rank_correlations_leave_the_parsing_failure_out(under: Under) -> None:
    there = sweep.published_frame()
    assert there["verifier"].iloc[0].startswith("allenai/") and np.isnan(there["own"].iloc[0])
    assert list(there["own"].dropna()) == [10, 27, 30, 42, 45, 69, 76]
    theirs = stats.spearmanr([10, 27, 30, 42, 45, 69, 76], [59, 60, 61, 59, 59, 60, 60]).statistic
    own = {"start": (0.2, 15), "gemma_instruct": (0.5, 25), "qwen": (0.9, 20)}
    found = arms([under(v, right, own=quality) for v, (quality, right) in own.items()])
    assert f"+0.50; pass@1 after and the verifier's own, published, over 7: {theirs:+.2f}" in sweep.trend(
        "g", found
    )
    assert "of 1 verifiers, too few" in sweep.trend("g", found[:1])


def test_the_section_keeps_ours_and_the_published_apart(under: Under, tmp_path: Path) -> None:
    runs = sweep_of(under, random=[8, 8, 8], start=[12, 12, 12], qwen=[30, 30, 30])
    runs = [replace(run, verifier_quality=[0.5] * PROBLEMS) for run in runs]
    part = sweep.part(runs, "miniature", tmp_path)
    ours, published = part.tables
    assert [row[9].text.split()[0] for row in ours.groups[0]] == ["-5.0", "+5.0", "+50.0"]
    assert [entry.text for entry in published.groups[0][0][2:]] == ["n/a", "58"]
    assert "paper" not in ours.title and "paper's scale" in published.title
    assert "qwen sft" in to_markdown(ours) and part.images
    figure = sweep.sweep_plot("qwen sft", arms(runs), "miniature").figure
    drawn = [
        sorted(
            x for line in axes.lines if line.get_marker() not in ("None", "", None) for x in line.get_xdata()
        )
        for axes in figure.findobj(lambda artist: hasattr(artist, "get_xlabel") and hasattr(artist, "lines"))
    ]
    assert drawn[1] == pytest.approx([20, 25, 25, 25, 30, 75]) and drawn[2] == pytest.approx([-5, 5, 50])
    assert drawn[3] == [10, 27, 30, 42, 45, 69, 76]  # without the one that is a parsing failure
    assert drawn[4] == [58, 59, 59, 59, 60, 60, 60, 61]
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def test_runs_without_a_grade_are_nothing_to_show(make_record: Any, tmp_path: Path) -> None:
    with pytest.raises(NothingToShow, match="none of the runs is graded"):
        sweep.part([make_record()], "miniature", tmp_path)

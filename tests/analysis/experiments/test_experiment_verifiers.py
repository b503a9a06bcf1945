"""Sections on verifiers: kinship, own quality, gains and the claim's verdict, by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats

from analysis.experiments import independence, verifier_sweep
from analysis.experiments._verifiers import KINSHIP, kinship, knowledge, labels, outcomes, own_quality
from analysis.tables.render import to_markdown
from cme.records import RunRecord, Verdict

Under = Callable[..., RunRecord]
CHECKPOINTS = {
    "random": ("gemma", "random:miniature:gemma/verifier"),
    "start": ("qwen", "miniature:qwen/pretrained"),
    "qwen_instruct": ("qwen", "miniature:qwen/instruct"),
    "gemma_instruct": ("gemma", "miniature:gemma/instruct"),
    "llama_instruct": ("llama", "miniature:llama/instruct"),
    "ensemble_instruct": ("gemma", "miniature:gemma/instruct, miniature:llama/instruct"),
    "qwen": ("qwen", "miniature:qwen/verifier"),
}


@pytest.fixture
def under(make_record: Any) -> Under:
    """A run under a verifier whose start has quality 0.4 on each prompt and whose policy has the qualities given."""

    def made(verifier: str, policy: Sequence[float], seed: int = 0, **fields: Any) -> RunRecord:
        family, checkpoint = CHECKPOINTS[verifier]
        verdicts = [
            Verdict(f"p{i}", True, "first" if of > 0.4 else "second" if of < 0.4 else "tie", scores=(of, 0.4))
            for i, of in enumerate(policy)
        ]
        config = {"verifier": {"name": verifier, "family": family}, "trainer": {"beta": 0.0}}
        of: RunRecord = make_record(verifier=verifier, seed=seed, verdicts=verdicts, steps=60, config=config)
        return replace(of, verifier_checkpoint=checkpoint, **fields)

    return made


def around(level: float, prompts: int = 40) -> list[float]:
    """Qualities whose mean is the level, 0.1 above it and below it in turn."""
    return [level + (0.1 if i % 2 else -0.1) for i in range(prompts)]


@pytest.mark.parametrize(
    ("verifier", "kin", "knows"),
    [
        ("random", "random weights", "random"),
        ("start", "itself", "pretrained"),
        ("qwen_instruct", "same family", "instruct"),
        ("gemma_instruct", "other family", "instruct"),
        ("ensemble_instruct", "ensemble", "instruct"),
        ("qwen", "same family", "verifier"),
    ],
)
def test_kinship_is_read_from_the_checkpoints(under: Under, verifier: str, kin: str, knows: str) -> None:
    run = under(verifier, around(0.5))
    assert (kinship(run), knowledge(run)) == (kin, knows)
    assert kin in KINSHIP


def test_settings_are_not_pooled_under_a_verifiers_name(under: Under) -> None:
    runs = [under(v, around(0.5)) for v in ("start", "qwen")]
    assert set(labels(runs).values()) == {"start", "qwen"}
    other = replace(runs[1], run_id="other", config={**runs[1].config, "trainer": {"beta": 0.1}})
    found = labels([*runs, other])
    assert len(set(found.values())) == 3 and "beta" in found["other"]


def test_gains_and_own_quality_are_means_over_prompts_and_seeds(under: Under) -> None:
    own = [0.0, 1.0, 1.0, 1.0] * 10
    runs = [
        under("qwen", around(0.5 + 0.1 * seed), seed, verifier_quality=own if seed == 1 else None)
        for seed in range(3)
    ]
    [of] = outcomes(runs)
    assert of.gain is not None and of.gain.difference / 100 == pytest.approx(0.2)  # 0.5, 0.6, 0.7 less 0.4
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert of.own == pytest.approx((0.75, wilson.low, wilson.high), abs=0.01)
    assert np.isnan(own_quality([under("start", around(0.5))])).all()


def test_the_interval_for_any_seed_grows_with_the_spread_of_seeds(under: Under) -> None:
    """Prompts alone are certain of a gain; seeds that differ by more than it are not."""
    alike = [under("qwen", around(0.55), seed) for seed in range(3)]
    apart = [under("qwen", around(level), seed) for seed, level in enumerate((0.25, 0.55, 0.85))]
    [one], [other] = outcomes(alike), outcomes(apart)
    assert one.gain is not None and other.gain is not None
    assert one.gain.difference == pytest.approx(other.gain.difference) == pytest.approx(15.0)
    assert one.gain.lo > 0 and other.gain.lo > 0
    assert one.gain.wide_lo > 0 > other.gain.wide_lo
    seeds = (
        stats.t.ppf(0.975, 2) * np.std([0.25, 0.55, 0.85], ddof=1) / np.sqrt(3)
    )  # the prompts add nothing to it
    prompts = stats.t.ppf(0.975, 39) * np.std(around(0.55), ddof=1) / np.sqrt(40)
    assert other.gain.wide_hi / 100 == pytest.approx(0.15 + np.hypot(seeds, prompts))


def arms(under: Under, others: float, same: float, itself: float, seeds: int = 5) -> list[RunRecord]:
    """Runs of the arms that the verdict rests on, at these mean qualities, seeds 0.01 apart."""
    levels = {"gemma_instruct": others, "llama_instruct": others, "qwen_instruct": same, "start": itself}
    return [under(v, around(level + 0.01 * s), s) for v, level in levels.items() for s in range(seeds)]


@pytest.mark.parametrize(
    ("others", "same", "itself", "verdicts", "claim"),
    [
        (0.7, 0.5, 0.4, ["supported here", "supported here"], "supported here"),
        (0.6, 0.8, 0.4, ["refuted here", "supported here"], "refuted here"),
        (0.6, 0.6, 0.4, ["not supported", "supported here"], "not supported"),
        (0.6, 0.4, 0.8, ["supported here", "refuted here"], "refuted here"),
    ],
)
def test_the_verdict_follows_the_rule_that_was_stated(
    under: Under, others: float, same: float, itself: float, verdicts: list[str], claim: str
) -> None:
    found = outcomes(arms(under, others, same, itself))
    table = independence.test_table("qwen pretrained", found, "miniature")
    assert [row[-1].text for row in table.groups[0]] == verdicts
    assert [row[3].text.split()[0] for row in table.groups[0]] == [
        f"{others - same:+.3f}",
        f"{others - itself:+.3f}",
    ]
    assert f"protects from gaming is {claim} (scale miniature" in table.notes[0]
    assert "gemma_instruct + llama_instruct" in table.notes[0]
    assert all(row[-1].text == "-" for row in table.groups[1])


def test_too_few_seeds_or_prompts_or_arms_are_no_verdict(under: Under) -> None:
    runs = arms(under, 0.7, 0.5, 0.4, seeds=2)
    tests = independence.tests_of(outcomes(runs))
    assert independence.overall(tests) == "not testable here"
    whole = arms(under, 0.7, 0.5, 0.4)
    without = [run for run in whole if run.verifier != "start"]
    assert independence.overall(independence.tests_of(outcomes(without))) == "not testable here"
    few = [replace(run, verdicts=run.verdicts[:20], pairs=run.pairs[:20]) for run in whole]
    assert independence.overall(independence.tests_of(outcomes(few))) == "not testable here"


def test_without_an_oracle_nothing_is_called_true_quality(under: Under) -> None:
    runs = [replace(run, judge="reference_similarity") for run in arms(under, 0.7, 0.5, 0.4)]
    found = outcomes(runs)
    assert independence.tests_of(found) == [] and all(of.gain is None for of in found)
    assert "not testable here" in independence.test_table("qwen pretrained", found, "laptop").notes[0]


def test_the_section_on_independence_is_whole(under: Under, tmp_path: Path) -> None:
    runs = arms(under, 0.7, 0.5, 0.4, seeds=3)
    runs += [under(v, around(0.45), s) for v in ("random", "ensemble_instruct") for s in range(3)]
    part = independence.part(runs, "miniature", tmp_path)
    assert len({table.name for table in part.tables}) == 3 and len(part.images) == 2
    outcome, gaming = part.tables[1:]
    assert outcome.groups[0][0][0].text == "random"  # the others follow by what they know
    assert {row[1].text for row in gaming.groups[0]} == set(KINSHIP)
    assert all("scale: miniature" in to_markdown(table) for table in part.tables)
    assert len(list((tmp_path / "figures").glob("independence*-miniature-qwen-pretrained.png"))) == 2


@pytest.mark.parametrize(
    ("levels", "rise", "word"),
    [
        ((0.2, 0.2, 0.2), 1.0, "yes"),
        ((0.7, 0.7, 0.7), 1.0, "no"),
        ((0.1, 0.4, 0.7), 1.0, "without gain"),
        ((0.2, 0.2, 0.2), -1.0, "-"),
        ((0.2, 0.2), 1.0, "n/a"),
    ],
)
def test_gamed_is_a_reward_that_rose_without_quality(
    under: Under, levels: Sequence[float], rise: float, word: str
) -> None:
    [of] = outcomes([under("start", around(level), seed) for seed, level in enumerate(levels)])
    assert independence.gamed(of, {f"rise_reward_beside{end}": rise for end in ("", "_lo", "_hi")}) == word


def test_the_sweep_orders_verifiers_by_their_own_quality(under: Under, tmp_path: Path) -> None:
    """Own quality 0.2, 0.5, 0.9 and gains 0.1, 0.3, 0.2: a rank correlation of +0.5."""
    own = {"gemma_instruct": (0.9, 0.6), "start": (0.2, 0.5), "qwen_instruct": (0.5, 0.7)}
    runs = [
        under(v, around(level), s, verifier_quality=[quality] * 40)
        for v, (quality, level) in own.items()
        for s in range(3)
    ]
    chance = [under("random", around(0.45), s, verifier_quality=[0.6] * 40) for s in range(3)]
    found = outcomes([*runs, *chance])
    assert [of.label for of in found] == ["random", "start", "qwen_instruct", "gemma_instruct"]
    assert "over 3 verifiers" in (said := verifier_sweep.trend("qwen", found[1:])) and "+0.50" in said
    table, published = verifier_sweep.part([*runs, *chance], "miniature", tmp_path).tables
    assert [row[5].text.split()[0] for row in table.groups[0]] == ["+0.050", "+0.100", "+0.300", "+0.200"]
    assert [row[3].text.split()[0] for row in table.groups[0]] == ["0.600", "0.200", "0.500", "0.900"]
    assert (
        published.groups[0][0][0].text.startswith("random-weight")
        and published.groups[0][0][2].text == "55.8"
    )


def test_ours_and_the_published_share_no_axis(under: Under) -> None:
    runs = [under(v, around(0.6), s) for v in ("start", "qwen") for s in range(3)]
    figure = verifier_sweep.sweep_plot("qwen pretrained", outcomes(runs), "miniature").figure
    drawn = [
        sorted(
            x for line in axes.lines if line.get_marker() not in ("None", "", None) for x in line.get_xdata()
        )
        for axes in figure.findobj(lambda artist: hasattr(artist, "get_xlabel") and hasattr(artist, "lines"))
    ]
    assert drawn[1] == pytest.approx([0.2, 0.2]) and drawn[2] == [100.0, 100.0]  # every prompt won
    assert drawn[3] == [55.8, 59.2, 63.0, 64.2, 64.2, 65.0, 70.0, 70.0]
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 8
    assert any("paper's scale" in text.get_text() for text in texts)

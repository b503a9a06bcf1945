"""Controls for length and surprisal: differences by hand, judges of known bias, refusals, the figure."""

from collections.abc import Callable
from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from shown import marks, panels, texts

from analysis.figures.confounds import STYLES, confound_plots
from analysis.tables.cells import build_cells
from analysis.tables.judging.confounds import (
    JUDGES,
    confound_frame,
    confound_tables,
    judge_errors,
    known_truth,
    simulate_judge,
    truth_table,
)
from analysis.tables.judging.controlled import CONTROLS, ControlledCell, controlled_cells
from cme.records import Generation, Pair, RunRecord, Verdict

MakeRecord = Callable[..., RunRecord]
MODEL = "miniature:olmo-1/verifier"


def world(
    make_record: MakeRecord,
    likes: Callable[[Any, Any, Any], Any] | None = None,
    *,
    n: int = 240,
    longer: float = 20.0,
    judge: str = "oracle",
    **fields: Any,
) -> RunRecord:
    """A run whose pairs differ in quality, length and surprisal, independently.

    The policy's responses are `longer` characters longer on average. The judge's logit is `likes(quality, length,
    surprisal)` of the differences; without it the better response wins, and equal quality ties.
    """
    rng = np.random.default_rng(7)
    quality = rng.integers(-2, 4, n) / 4
    length = np.rint(rng.normal(longer, 25, n)).astype(int)
    surprisal = rng.normal(-0.5, 1.0, n)
    pairs, verdicts = [], []
    for i in range(n):
        start = Generation("x" * 300, True, 300, 3.0)
        policy = Generation("y" * (300 + int(length[i])), True, 300, 3.0 + float(surprisal[i]))
        pairs.append(Pair(f"p{i}", "?", None, start, policy))
        if likes is None:
            outcome = "tie" if quality[i] == 0 else "first" if quality[i] > 0 else "second"
        else:
            chance = expit(np.asarray(likes(quality[i], length[i], surprisal[i]), float))
            outcome = "first" if rng.random() < chance else "second"
        scores = (0.5 + quality[i] / 2, 0.5 - quality[i] / 2)
        verdicts.append(Verdict(f"p{i}", True, outcome, scores=scores))  # type: ignore[arg-type]
    return replace(make_record(verdicts=verdicts, judge=judge, **fields), pairs=pairs, language_model=MODEL)


def controlled_of(*records: RunRecord) -> list[ControlledCell]:
    return controlled_cells(records, build_cells(records))


def without_surprisal(record: RunRecord) -> RunRecord:
    return replace(record, pairs=[replace(p, policy=replace(p.policy, surprisal=None)) for p in record.pairs])


@pytest.mark.parametrize(("n", "bold"), [(29, False), (30, True)])
def test_few_prompts_are_never_bold(make_record: MakeRecord, n: int, bold: bool) -> None:
    record = world(make_record, n=n, judge="biased")
    verdicts = [replace(v, outcome="first" if i % 10 else "second") for i, v in enumerate(record.verdicts)]
    [[row]] = confound_tables(controlled_of(replace(record, verdicts=verdicts)))[0].groups
    assert [row[i].bold for i in (3, 5)] == [bold, bold]  # raw, and controlled for surprisal


def test_differences_are_policy_minus_start(make_record: MakeRecord) -> None:
    pairs = [
        Pair("a", "?", None, Generation("four", True, 1, 2.5), Generation("sixsix", True, 9, 1.0)),
        Pair("b", "?", None, Generation("same", True, 1, 2.0), Generation("same", True, 1, 2.0)),
        Pair("c", "?", None, Generation("", True, 0, None), Generation("c", True, 1, 1.0)),
    ]
    verdicts = [
        Verdict("a", True, "first", scores=(0.9, 0.4)),
        Verdict("a", False, "first", scores=(0.4, 0.1)),
        Verdict("b", False, "tie", scores=(0.5, 0.5)),
        Verdict("b", True, "unscored", "no answer"),  # so the pair does not count
        Verdict("c", False, "second", scores=(0.0, 1.0)),
        Verdict("c", True, "tie", scores=(0.5, 0.5)),
        Verdict("c", False, "second", judge="another"),
    ]
    record = replace(make_record(verdicts=verdicts), pairs=pairs)
    [judged] = controlled_cells([record], build_cells([replace(record, verdicts=verdicts[:6])]))
    assert judged.verdicts["points"].tolist() == [1, 0, 1, 0.5]
    assert judged.verdicts["prompt"].tolist() == [0, 0, 2, 2]
    assert judged.verdicts["length"].tolist() == [2, 2, 1, 1]
    np.testing.assert_array_equal(judged.verdicts["surprisal"], [-1.5, -1.5, nan, nan])
    np.testing.assert_allclose(judged.verdicts["quality"], [0.5, -0.3, 1, 0])
    assert judged.verdicts["identical"].tolist() == [False] * 4
    assert controlled_of(replace(record, verdicts=verdicts[:6]))[0].unmeasured == 2


def in_other_units(record: RunRecord, factor: float) -> RunRecord:
    """The record as a language model with other units measures it: every surprisal times a factor."""

    def measured(side: Generation) -> Generation:
        return replace(side, surprisal=side.surprisal and factor * side.surprisal)

    pairs = [replace(p, start=measured(p.start), policy=measured(p.policy)) for p in record.pairs]
    return replace(record, pairs=pairs, language_model="another")


def test_a_cell_of_two_language_models_has_a_control_that_ignores_their_units(
    make_record: MakeRecord,
) -> None:
    one, other = (
        world(make_record, lambda q, length, s: -2.0 * s, judge="biased", seed=seed) for seed in (0, 1)
    )
    [same], [mixed] = controlled_of(one, other), controlled_of(one, in_other_units(other, 10.0))
    assert (same.models, mixed.models) == ([MODEL], ["another", MODEL])
    assert same.rates["raw"].lo > 55 and same.rates["surprisal"].lo < 50 < same.rates["surprisal"].hi
    for control in ("surprisal", "both"):
        expected, found = same.rates[control], mixed.rates[control]
        assert (found.rate, found.lo, found.hi) == pytest.approx((expected.rate, expected.lo, expected.hi))
    table = confound_tables([mixed])[0]
    assert "n/a" not in texts(table)[0] and f"another or {MODEL}" in " ".join(table.notes)


def test_rates_that_the_unscored_could_change_are_never_bold(make_record: MakeRecord) -> None:
    record = world(make_record, lambda q, length, s: 1.2)
    silent = [Verdict(f"u{i}", True, "unscored", "no answer") for i in range(200)]
    more = [replace(record.pairs[0], prompt_id=v.prompt_id) for v in silent]
    cut = replace(record, verdicts=[*record.verdicts, *silent], pairs=[*record.pairs, *more])
    settled, unsure = (confound_tables(controlled_of(r))[0].groups[0][0][3:-3] for r in (record, cut))
    assert all(entry.bold for entry in settled) and not any(entry.bold for entry in unsure)
    assert [entry.text for entry in unsure] == [f"{entry.text} ?" for entry in settled]


@pytest.mark.parametrize(
    ("likes", "control"),
    [
        (lambda q, length, s: 3 * np.tanh(length / 25), "length"),
        (lambda q, length, s: -2.0 * s, "surprisal"),
        (lambda q, length, s: 3 * np.tanh(length / 25) - 2.0 * s, "both"),
    ],
)
def test_a_control_removes_a_judges_bias_and_nothing_else(
    make_record: MakeRecord, likes: Any, control: str
) -> None:
    [biased], [oracle] = (
        controlled_of(world(make_record, own, n=900, judge=judge))
        for own, judge in ((likes, "biased"), (None, "oracle"))
    )
    assert biased.rates["raw"].lo > 55
    assert biased.rates[control].lo < 50 < biased.rates[control].hi
    raw, win = oracle.rates["raw"], oracle.cell.win
    assert (raw.rate, raw.lo, raw.hi) == (win.rate, win.lo, win.hi) and raw.rate > 60
    assert oracle.rates[control].rate == pytest.approx(raw.rate, abs=3)


def test_missing_estimates_are_marked_and_explained(make_record: MakeRecord) -> None:
    far = world(make_record, longer=60, family="llama")
    unmeasured = replace(without_surprisal(world(make_record, family="qwen")), language_model=None)
    records = [unmeasured, far]
    cells = controlled_of(*records)
    table = confound_tables(cells)[0]
    by_family = {row[0]: dict(zip(table.header, row, strict=True)) for row in texts(table)}
    assert by_family["Llama"]["length"] == by_family["Llama"]["both"] == "‡"
    assert by_family["Qwen"]["surprisal"] == by_family["Qwen"]["both"] == "n/a"
    assert "[" in by_family["Llama"]["surprisal"] and "[" in by_family["Qwen"]["length"]
    notes = " ".join(table.notes)
    assert all(text in notes for text in ("n/a: ", "‡", "240 of 480 verdicts", f"under {MODEL}"))
    frame = confound_frame(cells)
    assert len(frame) == 2 * len(CONTROLS)
    assert frame[frame["extrapolated"]]["control"].tolist() == ["length", "both"]
    assert frame[frame["extrapolated"]]["win_rate"].notna().all()


def test_unscored_verdicts_are_left_out_and_every_missing_rate_has_a_reason(
    make_record: MakeRecord, make_verdict: Callable[..., Verdict]
) -> None:
    assert controlled_of(make_record(verdicts=[make_verdict(i, None) for i in range(20)])) == []
    [each] = controlled_of(make_record(verdicts=[make_verdict(i, None if i % 2 else 1) for i in range(40)]))
    assert len(each.verdicts["points"]) == 20
    assert each.rates["length"].reason == "all pairs have the same difference in length"
    assert all(isnan(rate.rate) == (rate.reason is not None) for rate in each.rates.values())


def test_a_simulated_judge_is_reproducible_and_follows_its_weights(make_record: MakeRecord) -> None:
    [judged] = controlled_of(world(make_record, n=2000))
    pairs = judged.verdicts

    def points(weights: dict[str, float], oracle: ControlledCell = judged) -> Any:
        return simulate_judge(oracle, weights).verdicts["points"]

    for weights, logits in (
        (JUDGES["truth + length"], 8 * pairs["quality"] + 0.1 * pairs["length"]),
        (JUDGES["likelihood alone"], -pairs["surprisal"]),
    ):
        assert set(points(weights)) == {0, 1} and (points(weights) == points(weights)).all()
        assert points(weights).mean() == pytest.approx(expit(logits).mean(), abs=0.03)
    truth, other = JUDGES["truth"], replace(judged, cell=replace(judged.cell, family="llama"))
    assert (points(truth, other) != points(truth)).any()
    decided = pairs["quality"] != 0
    assert (points({"quality": 1e6})[decided] == pairs["points"][decided]).all()
    tied = replace(judged, verdicts=pairs.assign(identical=True))
    assert (points(JUDGES["length alone"], tied) == 0.5).all()


def test_errors_are_distances_from_the_oracle(make_record: MakeRecord) -> None:
    [judged] = controlled_of(world(make_record, n=900, longer=15))
    by_judge = judge_errors([judged]).set_index("judge").to_dict("index")
    assert list(by_judge) == ["oracle", *JUDGES] and by_judge["oracle"]["raw"] == 0
    biased = simulate_judge(judged, JUDGES["truth + length"])
    expected = 100 * (biased.verdicts["points"].mean() - judged.verdicts["points"].mean())
    assert by_judge["truth + length"]["raw"] == pytest.approx(expected)
    # without its bias, a judge that does not see quality has no opinion: 50 %, not the truth
    assert by_judge["length alone"]["length"] == pytest.approx(
        50 - 100 * judged.verdicts["points"].mean(), abs=5
    )


def test_the_truth_table_covers_the_cells_of_the_oracle(make_record: MakeRecord) -> None:
    near, far = world(make_record, family="qwen"), world(make_record, longer=60, family="llama")
    other, unmeasured = world(make_record, judge="other", family="gemma"), make_record(family="olmo")
    cells = controlled_of(near, far, other, unmeasured)
    assert [each.cell.family for each in known_truth(cells)] == ["qwen", "llama"]
    table = truth_table(cells)
    assert len(rows := texts(table)) == 2 * (1 + len(JUDGES))
    assert rows[0][:4] == ["Pretrained", "oracle", "1", "+0.0 (0.0)"]
    assert rows[1 + len(JUDGES)][:2] == ["Pretrained ‡", "oracle"]
    assert "truth + length: +8 per unit of quality, +0.1 per character" in " ".join(table.notes)
    judges = ("controlled-miniature-oracle", "controlled-miniature-other")
    assert [t.name for t in confound_tables(cells)] == [*judges, "truth-miniature-oracle"]
    without = confound_tables(controlled_of(other, unmeasured))
    assert not any(table.name.startswith("truth") for table in without)


def test_a_verdict_on_an_empty_response_is_left_out_of_the_truth_table(make_record: MakeRecord) -> None:
    record = world(make_record)
    empty = replace(record.pairs[0], policy=Generation("", True, 0, None))
    cells = controlled_of(replace(record, pairs=[empty, *record.pairs[1:]]))
    [kept], [whole] = known_truth(cells), controlled_of(record)
    assert kept.verdicts["points"].tolist() == whole.verdicts["points"].tolist()[1:]
    assert "1 of 240 verdicts" in truth_table(cells).notes[-1]


def imported(make_record: MakeRecord, name: str, text: str) -> RunRecord:
    """Outputs from a file of 40 rows whose prompts are numbered from 0."""
    record = world(make_record, n=40, judge="model", scale="imported", reward="imported", family=name)
    verdicts = [replace(v, prompt_id=str(i)) for i, v in enumerate(record.verdicts)]
    pairs = [replace(p, prompt_id=str(i), prompt=f"{text} {i}") for i, p in enumerate(record.pairs)]
    return replace(record, run_id=f"{name} {text}", verdicts=verdicts, pairs=pairs)


def test_imported_outputs_are_told_apart_by_file_and_named_in_the_figure(make_record: MakeRecord) -> None:
    one, other = (imported(make_record, "file", text) for text in ("why", "how"))
    assert build_cells([one, other])[0].win.prompts == 80
    prompts = [len(set(controlled_of(*runs)[0].verdicts["prompt"])) for runs in ([one, other], [one])]
    assert prompts == [80, 40]
    [plot] = confound_plots(controlled_of(*(imported(make_record, name, "why") for name in ("a", "b"))))
    [axes] = panels(plot.figure)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["pretrained", "a, imported", "b, imported"]
    assert len(marks(plot.figure)[0]) == 2 * len(STYLES)
    words = plot.caption + plot.figure.get_suptitle() + axes.get_xlabel()
    assert "CME" not in words and "untrained" not in words


def test_the_figure_shows_every_rate_of_cme_and_names_scale_and_judge(make_record: MakeRecord) -> None:
    cells = controlled_of(
        *(
            world(make_record, likes, longer=longer, regime=regime, reward=reward)
            for regime, longer, likes in (("pretrained", 60, None), ("sft", 5, lambda q, length, s: 0.0))
            for reward in ("cme", "random")
        )
    )
    [plot] = confound_plots(cells)
    assert "scale: miniature" in plot.figure.get_suptitle() and "+0.1 per character" in plot.caption
    judges = ["judge: oracle", *(f"simulated judge:\ntruth + {bias}" for bias in ("length", "likelihood"))]
    assert [axes.get_title() for axes in panels(plot.figure)] == judges
    axes = panels(plot.figure)[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["Pretrained", "Qwen", "SFT", "Qwen"]
    rates = [rate for each in cells if each.cell.reward == "cme" for rate in each.rates.values()]
    given = sorted((rate.rate, rate.lo <= 50 <= rate.hi) for rate in rates if not rate.extrapolated)
    drawn = sorted(
        (float(x), line.get_markerfacecolor() == "white")
        for line in axes.lines
        if line.get_marker() not in ("None", None, "")
        for x in line.get_xdata()
    )
    assert drawn == given and len(given) < len(rates) and {hollow for _, hollow in given} == {True, False}
    legend = [text.get_text() for text in plot.figure.legends[0].texts]
    assert "truth" in legend and "extrapolated" not in legend


def test_the_figure_without_truth_surprisal_or_cme(make_record: MakeRecord) -> None:
    record = make_record(scale="laptop", judge="reference_similarity")
    varied = [
        replace(p, policy=replace(p.policy, response="y" * (i % 7 + 1))) for i, p in enumerate(record.pairs)
    ]
    [plot] = confound_plots(controlled_of(replace(record, pairs=varied)))
    assert "oracle" not in plot.caption
    assert [axes.get_title() for axes in panels(plot.figure)] == ["judge: reference similarity"]
    [oracle] = confound_plots(controlled_of(without_surprisal(world(make_record))))
    assert [axes.get_title() for axes in panels(oracle.figure)] == ["judge: oracle"]
    assert confound_plots(controlled_of(make_record(reward="random"))) == [] == confound_plots([])

"""Figures: data where it belongs, one style a reward, type that stays legible in print."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from analysis.figures.confounds import confound_plots
from analysis.figures.curves import add_derived_columns, seed_curve
from analysis.figures.overview import build_figures, family_plot
from analysis.figures.paths import overoptimisation_plots
from analysis.figures.style import STYLES, UNTRAINED, method_styles, reward_style
from analysis.records.frames import WINDOW, history_frame
from analysis.records.names import REWARDS, training_names
from analysis.tables.cells import build_cells
from analysis.tables.judging.controlled import controlled_cells


def plots(records):
    return {plot.name: plot for plot in build_figures(build_cells(records), history_frame(records))}


def grid(make_record, **fields):
    return [
        make_record(reward=reward, regime=regime, seed=seed, **fields)
        for reward in ("cme", "random")
        for regime in ("pretrained", "instruct")
        for seed in (0, 1)
    ]


def test_every_figure_names_its_scale_in_legible_type(make_record):
    drawn = plots(grid(make_record))
    assert len(drawn) == 5
    for plot in drawn.values():
        assert "scale: miniature" in plot.figure.get_suptitle()
        assert "miniature" in plot.caption
        sizes = [text.get_fontsize() for text in plot.figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= 8


def test_what_was_not_measured_is_left_out_and_said(make_record):
    drawn = plots(grid(make_record, unmeasured=["quality"]))
    assert not any(name.startswith("overoptimisation") for name in drawn)
    assert "Not measured here: quality" in drawn["training-miniature-qwen"].caption


def test_records_without_history_still_have_win_rates(make_record):
    assert list(plots([make_record(steps=0)])) == ["win-rates-miniature-oracle"]


def test_curve_is_the_mean_over_smoothed_seeds_and_band_their_range(make_record):
    records = [make_record(seed=seed, steps=30) for seed in range(3)]
    curve = seed_curve(history_frame(records), "quality")
    half = WINDOW // 2
    smooth = [
        [np.mean(r.history["quality"][max(0, i - half) : i + half + 1]) for i in range(30)] for r in records
    ]
    assert curve["mean"].to_numpy() == pytest.approx(np.mean(smooth, axis=0))
    assert curve["low"].to_numpy() == pytest.approx(np.min(smooth, axis=0))
    assert curve["high"].to_numpy() == pytest.approx(np.max(smooth, axis=0))


def test_runs_of_two_verifiers_are_two_curves_of_the_lengths_that_each_has(make_record):
    old = make_record(verifier="gemma", judge="reference_similarity", steps=16)
    old = replace(old, history=old.history | {"length": [20.0] * 16})
    new = make_record(verifier="olmo", steps=40)
    new = replace(new, history=new.history | {"length": [60.0] * 40})
    records = [old, new]
    history = add_derived_columns(history_frame(records, training_names(records)))
    figure = family_plot(history, "qwen").figure
    [lengths] = [axes for axes in figure.axes if axes.get_ylabel().startswith("length")]
    drawn = {len(line.get_xdata()): set(line.get_ydata()) for line in lengths.lines}
    assert drawn == {16: {20.0}, 40: {60.0}}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CME (Gemma)", "CME (OLMo)"]


def test_a_stopped_run_is_crossed_where_it_ended(make_record):
    records = [make_record(seed=0, steps=30), make_record(seed=1, steps=11, stopped="diverged")]
    figure = family_plot(add_derived_columns(history_frame(records)), "qwen").figure
    crosses = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert crosses == [11]


def test_reward_gain_is_in_standard_deviations_of_the_start(make_record):
    record = make_record(steps=10)
    frame = add_derived_columns(history_frame([record]))
    rewards, spread = np.array(record.history["reward"]), np.mean(record.history["reward_std"][:WINDOW])
    assert frame["reward_gain"].to_numpy() == pytest.approx((rewards - rewards[:WINDOW].mean()) / spread)
    assert (frame["sqrt_kl"] >= 0).all()


def test_a_path_begins_at_its_first_measurement_and_a_reward_without_spread_has_none(make_record):
    record = make_record(steps=10)
    record = replace(record, history=record.history | {"kl": [4.0] * 10, "reward_std": [0.0] * 10})
    [plot] = overoptimisation_plots(add_derived_columns(history_frame([record])))
    assert plot.name == "overoptimisation-sqrt-kl-miniature"
    [first] = [line for line in plot.figure.axes[0].lines if line.get_color() == UNTRAINED.colour]
    assert list(first.get_xdata()) == [2.0]
    assert [text.get_text() for text in plot.figure.legends[0].texts] == ["CME", "first measurement"]


def test_rewards_of_one_colour_differ_in_marker_and_in_line():
    assert set(STYLES) <= set(REWARDS)
    for one, other in combinations(STYLES.values(), 2):
        assert one.colour != other.colour or (one.marker != other.marker and one.dashes != other.dashes)


def test_an_unknown_reward_keeps_its_style_and_takes_no_known_ones():
    known = {style.colour for style in STYLES.values()}
    for name in ("my_reward", "another", "a third"):
        assert reward_style(name) == reward_style(name)
        assert reward_style(name).colour not in known


def test_methods_of_one_reward_share_its_colour_only():
    one, other = method_styles({"cme (gemma)": "cme", "cme (olmo)": "cme"}).values()
    assert one == reward_style("cme")
    assert one.colour == other.colour and one.marker != other.marker and one.dashes != other.dashes


@pytest.mark.parametrize("names", [("gpt$^$", "q$x_{$", r"\frac$\frac$"), ("a_b$",) * 3])
def test_a_dollar_in_a_name_is_a_dollar(make_record, names):
    record = make_record(**dict(zip(("judge", "family", "reward"), names, strict=True)))
    [cell] = build_cells([record])
    plots = [
        *build_figures([cell], history_frame([record])),
        confound_plots(controlled_cells([record], [cell])),
    ]
    for plot in filter(None, plots):
        plot.figure.draw_without_rendering()
    texts = [text.get_text() for text in plots[0].figure.findobj(Text)]
    assert any(names[0] in text for text in texts)

"""Every figure is legible as it is saved: no raw markup, no label on another or cut off, no panel too small to read.

`tests/analysis/report/test_outputs.py` draws all figures of the committed records; these are of synthetic ones.
"""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from layout import layout_faults
from matplotlib.figure import Figure
from shown import panels
from synthetic_records import separation_record

from analysis.figures.confounds import confound_plots
from analysis.figures.curves import add_derived_columns
from analysis.figures.forest import Block, Dot, Panel, draw_seeds, forest
from analysis.figures.overview import family_plot, trained_reward_plot
from analysis.figures.separation import auroc_plot, distribution_plot, scatter_plot, verifier_plot
from analysis.figures.style import CEILING, CUT_START, STYLES, Plot, reward_style
from analysis.figures.win_rates import NO_CONTROLS, ControlsByPlace, main_plot, win_rate_plot
from analysis.records.frames import history_frame
from analysis.stats.win_rates import win_rate
from analysis.tables.cells import Cell, build_cells
from analysis.tables.judging.controlled import controlled_cells
from analysis.tables.separation import Separation
from cme.records import RunRecord, Verdict

FAMILIES = ("gemma", "qwen")
REGIMES = ("pretrained", "sft", "instruct")
REWARDS = ("cme", "random", "ground_truth")
ROWS = len(FAMILIES) * len(REGIMES)


@pytest.fixture(scope="module")
def records(make_record: Callable[..., RunRecord]) -> list[RunRecord]:
    return [
        make_record(family=family, regime=regime, reward=reward, seed=seed, prompts=30)
        for family in FAMILIES
        for regime in REGIMES
        for reward in REWARDS
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def cells(records: list[RunRecord]) -> list[Cell]:
    return build_cells(records)


@pytest.fixture(scope="module")
def controls(cells: list[Cell]) -> ControlsByPlace:
    prompts = np.array([f"p{i}" for i in range(40)], dtype=object)
    cut = win_rate(np.array([1.0] * 22 + [0.0] * 18), prompts)
    return {(cell.family, cell.regime): SimpleNamespace(cut_start=cut, ceiling=80.0) for cell in cells}


def main_figure(cells: list[Cell], controls: ControlsByPlace = NO_CONTROLS) -> Plot:
    return main_plot("main", cells, (52.5, 71.4), "the paper", controls)


def test_every_figure_is_legible(
    records: list[RunRecord],
    cells: list[Cell],
    controls: ControlsByPlace,
    make_record: Callable[..., RunRecord],
) -> None:
    separations = [
        Separation(separation_record(answer=True, separation_id=f"{r}-{v}", regime=r, verifier=v))
        for r in ("sft", "instruct")
        for v in ("gemma", "gemma_sft")
    ]
    usual, history = separations[::2], add_derived_columns(history_frame(records))
    long_label = add_derived_columns(history_frame([make_record(reward="cme_no_end")]))
    for plot in (
        trained_reward_plot(history),
        trained_reward_plot(long_label),
        family_plot(history, "qwen"),
        win_rate_plot(cells, "Win rates with controls", controls),
        win_rate_plot(cells[:1]),
        main_figure(cells, controls),
        *confound_plots(controlled_cells(records, cells)),
        *(auroc_plot(usual), scatter_plot(usual), scatter_plot(usual[:1]), verifier_plot(separations)),
        distribution_plot(usual, "answer"),
    ):
        assert layout_faults(plot.figure) == [], plot.name


def test_every_kind_of_fault_is_found() -> None:
    figure = Figure(figsize=(7, 3))
    sound, small = figure.subplots(1, 2, width_ratios=[20, 1])
    sound.plot([0, 1], [0, 1])
    sound.set_xticks([0.5, 0.501], ["one label", "another label"])
    sound.set_title(r"$\mathdefault{10^{-2}}$")
    small.text(3, 0.5, "far to the right")
    figure.supxlabel("steps")
    labels = {"one more": "C1", "yet another": "C1", "a line": "C0"}
    lines = [sound.plot([0, 1], color=colour, label=label)[0] for label, colour in labels.items()]
    figure.legend(handles=lines, loc="lower center")
    faults = " ".join(layout_faults(figure))
    for fault in (
        "raw markup",
        "'another label' and 'one label'",
        "'steps' and 'a line'",
        "one look in the legend: 'one more' and 'yet another'",
        "outside the canvas: 'far",
        "a panel of",
    ):
        assert fault in faults


def at(axes: Any, colour: str, marker: str) -> list[float]:
    """Where a panel has marks of a colour and shape, from left to right."""
    lines = [line for line in axes.lines if (line.get_color(), line.get_marker()) == (colour, marker)]
    return sorted(x for line in lines for x in line.get_xdata())


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


def test_the_main_figure_has_rates_seeds_controls_and_scores(
    cells: list[Cell], controls: ControlsByPlace
) -> None:
    figure = main_figure(cells, controls).figure
    rates, scores = panels(figure)
    assert at(rates, CUT_START.colour, CUT_START.marker) == pytest.approx([55.0] * ROWS)
    bars = [path for lines in rates.collections if len(lines.get_paths()) for path in lines.get_paths()]
    assert [path.vertices[0][0] for path in bars] == [80.0] * ROWS
    for reward in REWARDS:
        own, style = [cell for cell in cells if cell.reward == reward], reward_style(reward)
        seeds = [rate for cell in own for rate in cell.seeds.rates.values()]
        assert len(seeds) == 2 * ROWS and at(rates, style.colour, "|") == pytest.approx(sorted(seeds))
        after = sorted(cell.quality.policy for cell in own if cell.quality)
        assert at(scores, style.colour, style.marker) == pytest.approx(after)
    assert "(0 to 1)" in scores.get_xlabel()
    assert legend(main_figure(cells).figure)[:4] == ["CME", "Random", "Ground truth", "untrained model"]


def test_every_mark_of_the_main_figure_stays_in_its_row(cells: list[Cell], controls: ControlsByPlace) -> None:
    """Lines part the rows, since a control stands as near to the label of the next row as to its own."""
    others = [
        replace(cell, reward=reward, method=reward) for cell in cells for reward in ("length", "format")
    ]
    axes = panels(main_figure([*cells, *others], controls).figure)[0]
    marked = {y for line in axes.lines if line.get_marker() not in ("None", "|") for y in line.get_ydata()}
    rows = {round(y) for y in marked}
    assert len(rows) == ROWS and len(marked) == 4 * ROWS
    assert all(abs(y - round(y)) <= 0.46 for y in marked)
    between = {line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]}
    assert between >= {y - 0.5 for y in axes.get_yticks()[:-1]}


def test_heads_of_rows_are_bold(cells: list[Cell]) -> None:
    labels = panels(win_rate_plot(cells).figure)[0].get_yticklabels()
    bold = [label.get_text() for label in labels if label.get_fontweight() == "bold"]
    assert bold == ["Pretrained", "SFT", "Instruct"] and len(labels) == len(REGIMES) * (1 + len(REWARDS))


def test_a_control_that_was_not_measured_is_left_out(cells: list[Cell]) -> None:
    none = {(cell.family, cell.regime): SimpleNamespace(cut_start=None, ceiling=nan) for cell in cells}
    plot = win_rate_plot(cells, controls=none)
    labels = [label.get_text() for label in panels(plot.figure)[0].get_yticklabels()]
    assert "Cut start" not in labels and "Cut start" not in plot.caption and "ceiling" not in plot.caption
    assert not any(at(axes, CEILING.colour, CEILING.marker) for axes in panels(plot.figure))


def test_seeds_of_one_rate_stand_one_below_the_other_in_their_row() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(-1, 1))
    draw_seeds(axes, 0.0, [0.3] * 6 + [0.31, 0.3002], "black", decimals=3)
    places = [tuple(line.get_transform().transform((line.get_xdata()[0], 0.0))) for line in axes.lines]
    down = [(places[0][1] - height) * 72 / figure.dpi for _, height in places]
    assert down == pytest.approx([0, 2, 4, 6, 6, 6, 0, 6])
    assert places[0][0] == places[5][0], "a tick stays at its rate"


def test_the_legend_explains_every_mark_that_is_drawn() -> None:
    rows, style = {"one": "One", "two": "Two"}, STYLES["random"]
    seeds = Dot("one", 18.0, 15.0, 21.0, style, seeds=[3.5, nan, 28.1])
    ended = Dot("two", 50.0, 45.0, 55.0, style, hollow=True, stopped=True)
    figure = forest("", [Block("", rows, [Panel("", [seeds, ended])])], {}, tick="single build")
    assert legend(figure) == ["single build", "shows no difference", "† stopped early"]
    [axes] = panels(figure)
    assert at(axes, style.colour, "|") == [3.5, 28.1] and "†" in [text.get_text() for text in axes.texts]
    low, high = axes.get_xlim()
    assert low < 3.5 and high > 28.1, "the axis reaches every seed"
    assert forest("", [Block("", rows, [Panel("", [replace(seeds, seeds=())])])], {}).legends == []


def test_a_caption_names_the_methods_that_pool_more_builds(make_record: Callable[..., RunRecord]) -> None:
    one = make_record()
    two = make_record(seed=1, generator_checkpoint="miniature:qwen-2/pretrained")
    random = make_record(reward="random")
    cells = build_cells([one, two, random])
    for plot in (main_figure(cells), win_rate_plot(cells)):
        assert "CME pools 2, like seeds; the other methods have one" in plot.caption
    assert "pools" not in main_figure(build_cells([one, random])).caption


def test_the_legend_of_the_main_figure_names_the_thin_bar_if_it_is_drawn(
    cells: list[Cell], make_record: Callable[..., RunRecord]
) -> None:
    """An interval across seeds needs three of them."""
    three = build_cells([make_record(seed=seed) for seed in range(3)])
    for shown, drawn_bars in ((cells, 0), (three, 1)):
        entries = legend(main_figure(shown).figure)
        assert entries.count("across-seed interval (left)") == drawn_bars


def test_a_score_that_shows_no_change_is_hollow(make_record: Callable[..., RunRecord]) -> None:
    """Three policies on 40 prompts: one is as before, one is far better, and one is far better on too few prompts."""
    changes = {"random": (0.0, 40), "ground_truth": (0.5, 40), "length": (0.5, 5)}
    records = [
        make_record(
            reward=reward,
            verdicts=[  # the swing of 0.1 cancels out over the prompts
                Verdict(f"p{i}", True, "first" if gain else "tie", scores=(0.3 + gain + 0.1 * (-1) ** i, 0.3))
                for i in range(prompts)
            ],
        )
        for reward, (gain, prompts) in changes.items()
    ]
    scores = panels(win_rate_plot(build_cells(records)).figure)[1]
    faces = {(line.get_color(), line.get_marker()): line.get_markerfacecolor() for line in scores.lines}
    styles = [reward_style(reward) for reward in changes]
    assert [faces[style.colour, style.marker] for style in styles] == ["white", styles[1].colour, "white"]


def test_verifiers_have_one_order_for_all_generators() -> None:
    """Gemma separates better on average, OLMo for one of the generators."""
    noise, separations = np.random.default_rng(1), []
    distances = {
        ("sft", "gemma"): 2.0,
        ("sft", "olmo"): 0.1,
        ("instruct", "gemma"): 0.4,
        ("instruct", "olmo"): 1.0,
    }
    for (regime, verifier), apart in distances.items():
        record = separation_record(separation_id=f"{regime}-{verifier}", regime=regime, verifier=verifier)
        values = [float(noise.uniform(0, 2) + apart * (not right)) for right in record.correct]
        signals = record.signals | {"cross_entropy verifier response": values}
        separations.append(Separation(replace(record, signals=signals)))
    axes = panels(verifier_plot(separations).figure)[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["Qwen SFT", "itself", "Gemma", "OLMo", "Qwen instruct", "itself", "Gemma", "OLMo"]

"""Reward probe: ranks by hand, dashes where nothing was scored, and a report with, without and only of it."""

from math import isnan
from typing import Any

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.figures.reward_probe import reward_probe_plot
from analysis.records.names import display_name
from analysis.records.read import load_reward_probes
from analysis.tables.latex import to_latex
from analysis.tables.render import to_markdown
from analysis.tables.reward_probe import (
    first_share,
    line_label,
    ranks,
    reward_probe_frame,
    reward_probe_table,
)
from cme.records import RewardProbeRecord, write_record

NAN = float("nan")
GRADES = ("empty", "wrong", "right")


def probe_record(values: Any = None, prompts: int = 12, **fields: Any) -> RewardProbeRecord:
    """Two lines: `cme` puts right, wrong, empty in that order but has no value for empty; `random` ties all."""
    family, scale = fields.setdefault("family", "qwen"), fields.setdefault("scale", "miniature")
    values = values or {
        "random": {grade: [1.0] * prompts for grade in GRADES},
        "cme": {"empty": [None] * prompts, "wrong": [-2.0] * prompts, "right": [-1.0] * prompts},
    }
    return RewardProbeRecord(
        probe_id=f"probe-{scale}-{family}-gemma",
        regime="pretrained",
        verifier="gemma",
        seed=0,
        generator_checkpoint=f"{family}/pretrained",
        verifier_checkpoint="gemma/verifier",
        second_checkpoint="w",
        config={},
        environment={},
        prompts=[f"p{i}" for i in range(prompts)],
        values=values,
        seconds=1.0,
        **fields,
    )


@pytest.mark.parametrize(
    ("values", "ranked", "first"),
    [
        ([3.0, 1.0, 2.0], [1, 3, 2], 0),
        ([1.0, 2.0, 3.0], [3, 2, 1], 1),
        ([5.0, 5.0, 5.0], [2, 2, 2], 1 / 3),
        ([0.0, 7.0, 7.0], [3, 1.5, 1.5], 1 / 2),
        ([NAN, NAN, -2.0], [NAN, NAN, 1], 1),
        ([1.0, 2.0, NAN], [2, 1, NAN], NAN),
        ([NAN, NAN, NAN], [NAN, NAN, NAN], NAN),
    ],
)
def test_ranks_and_first_places_by_hand(values: Any, ranked: Any, first: Any) -> None:
    np.testing.assert_equal(ranks(np.array([values])), np.array([ranked], dtype=float))
    np.testing.assert_equal(first_share(np.array([values]), 2), np.array([first], dtype=float))


def test_mean_ranks_shares_and_interval() -> None:
    right = [-1.0] * 6 + [-3.0] * 6  # first on half of the prompts
    empty = [None] * 9 + [-1.5] * 3  # scored on three, before `wrong` and there before `right` too
    record = probe_record({"cme": {"empty": empty, "wrong": [-2.0] * 12, "right": right}})
    frame = reward_probe_frame([record]).set_index("grade")
    assert list(frame["mean_rank"]) == pytest.approx(
        [1.0, (6 * 2 + 3 * 1 + 3 * 2) / 12, (6 * 1 + 3 * 2 + 3 * 3) / 12]
    )
    assert list(frame["unscored"]) == [0.75, 0, 0]
    assert set(frame["right_first"]) == {50.0}
    assert 15 < frame["right_first_lo"].iloc[0] < 30 and 70 < frame["right_first_hi"].iloc[0] < 85
    text = to_markdown(reward_probe_table(record))
    assert "**1.0 (- 75 %)**" in text and "50.0 [16.7, 83.3]" in text
    assert "unscored, with the share of prompts" in text
    few = probe_record(prompts=9)
    assert isnan(reward_probe_frame([few])["right_first_lo"].iloc[0])
    assert "100.0 [n/a]" in to_markdown(reward_probe_table(few))


def test_the_table_names_its_models_and_marks_what_was_never_scored() -> None:
    table = reward_probe_table(probe_record())
    assert "scale: miniature, generator: qwen/pretrained, verifier: gemma/verifier" in table.title
    assert "Ensembles: the verifier and w." in table.notes
    assert table.header == ["reward", *GRADES, "right first (%)"]
    [[cme], [random]] = [[[e.text for e in row] for row in group] for group in table.groups]
    assert cme == ["CME", "- (100 %)", "2.0", "1.0", "100.0 [100.0, 100.0]"]
    assert random == ["Random", "2.0", "2.0", "2.0", "33.3 [33.3, 33.3]"]
    bold = [[entry.text for entry in row if entry.bold] for group in table.groups for row in group]
    assert bold == [["1.0"], ["2.0"] * 3]
    assert r"100 \%" in to_latex(table, "tab:t")


def test_the_figure_shows_every_number() -> None:
    plot = reward_probe_plot([probe_record(), probe_record(family="llama")])
    one, other = plot.figure.axes
    assert "scale: miniature" in plot.figure.get_suptitle() and "miniature" in plot.caption
    assert [text.get_text() for text in one.texts][:6] == ["-", "2.0", "1.0", "2.0", "2.0", "2.0"]
    assert "generator: llama/pretrained, verifier: gemma/verifier" in other.get_xlabel()


def test_a_variant_is_named_as_the_reward_that_it_is() -> None:
    rewards = {"no end of turn": "cme_no_end", "span=answer": "cme_answer", "span=blended": "cme_blended"}
    assert {v: line_label(f"cme {v}") for v in rewards} == {v: display_name(r) for v, r in rewards.items()}
    assert (
        line_label("cme pmi") == "CME (PMI)" and line_label("cme clip [-3, -0.5]") == "CME (clip [-3, -0.5])"
    )


def test_a_line_without_right_answers_is_malformed(tmp_path) -> None:
    write_record(tmp_path / "probe.json", probe_record({"cme": {"wrong": [1.0] * 12}}))
    with pytest.raises(ValueError, match=r"probe\.json is malformed.*`right`"):
        load_reward_probes([tmp_path])


@pytest.mark.usefixtures("undrawn")
def test_a_report_of_probes_alone_has_their_section(tmp_path, capsys) -> None:
    write_record(tmp_path / "miniature.probe.json", probe_record())
    write_record(tmp_path / "laptop.probe.json", probe_record(scale="laptop", family="<gemma>"))
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "0 runs, 2 reward probes" in printed and "scale: laptop, generator: &lt;gemma&gt;" in printed
    html = (tmp_path / "out" / "report.html").read_text()
    assert 'id="reward-probe"' in html and "<gemma>" not in html
    names = {path.name for path in (tmp_path / "out").rglob("*reward-probe*") if path.is_file()}
    tables = {"reward-probe-miniature-qwen-gemma.tex", "reward-probe-laptop-gemma-gemma.tex"}
    for scale in ("miniature", "laptop"):
        tables |= {f"{scale}-reward-probe.md", f"{scale}-reward-probe.csv"}
        tables |= {f"reward-probe-{scale}.png", f"reward-probe-{scale}.svg"}
    assert names == tables

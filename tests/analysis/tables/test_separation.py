"""Separation tables and figures on responses whose signals are known, beside the published file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_records import PROMPTS, SAMPLES, separation_record

from analysis.figures.separation import (
    auroc_plot,
    distribution_plot,
    measured_spans,
    scatter_plot,
    verifier_plot,
)
from analysis.records.read import load_all, load_separation
from analysis.sections.separation import contrast_table, published_table, separation_section, signal_table
from analysis.tables.separation import (
    LENGTH,
    PUBLISHED,
    SIGNALS,
    Separation,
    display_names,
    published_frame,
    separation_frame,
    signal_label,
)
from cme.records import SeparationRecord, write_record


def rows_of(*records: SeparationRecord) -> dict[str, dict[str, Any]]:
    frame = separation_frame([Separation(record) for record in records])
    return {row["signal"]: row for row in frame.to_dict("records")}


def test_signals_that_know_nothing_or_everything() -> None:
    rows = rows_of(separation_record())
    assert list(rows) == [s for s in SIGNALS if not s.endswith(" answer")]
    knows = rows["cross_entropy verifier response"]
    assert (knows["auroc"], knows["within"], knows["hi"]) == (1, 1, 1) and knows["lo"] < 1
    assert (knows["right"], knows["wrong"], knows["mixed_prompts"]) == (64, 64, PROMPTS)
    assert knows["accuracy"] == 0.5
    blind = rows["predictive_entropy verifier response"]
    assert (blind["auroc"], blind["within"]) == (0.5, 0.5)
    assert rows["cross_entropy generator response"]["lo"] > 0.5
    length = rows[LENGTH]  # wrong ones are shorter
    assert (length["auroc"], length["right_mean"], length["wrong_mean"]) == (0, 3, 2)


def test_what_has_no_answer_or_no_grade_is_counted_and_left_out() -> None:
    number = PROMPTS * SAMPLES
    correct: list[bool | None] = [None, False, False, *[i % 2 == 0 for i in range(3, number)]]
    answered = [i != 1 for i in range(number)]
    record = separation_record(
        correct=correct, answered=answered, left_out=7, cut={"generator": 0, "verifier": 2}
    )
    one = Separation(record)
    assert len(one.correct) == len(one.prompts) == len(one.values[LENGTH]) == number - 2
    assert one.accuracy == pytest.approx(sum(c is True for c in correct) / (number - 1))
    said = " ".join(signal_table([one]).notes)
    for what in (
        "7 prompts without",
        "1 responses could not",
        "1 responses without an answer",
        "2 responses cut",
    ):
        assert what in said
    assert "62 right and 64 wrong" in said


def test_a_response_without_a_value_is_in_no_pair_of_that_signal() -> None:
    record = separation_record()
    record.signals["cross_entropy verifier response"][0] = None
    rows = rows_of(record)
    assert (rows["cross_entropy verifier response"]["unscored"], rows[LENGTH]["unscored"]) == (1, 0)
    assert rows["cross_entropy verifier response"]["right"] == 63
    paired = Separation(record).wins("cross_entropy verifier response", "cross_entropy generator response")
    assert [wins.right.sum() for wins in paired] == [63, 63]


def test_the_table_sets_the_published_apart_and_says_whose_it_is() -> None:
    table = signal_table([Separation(separation_record())])
    assert "scale: miniature" in table.title and table.header[-1] == "published, other scale"
    by_signal = {row[3].text: row for row in table.groups[0]}
    assert by_signal["cross-entropy, verifier, response"][-1].text == "0.640 to 0.861"
    assert by_signal["cross-entropy, verifier, response"][4].text.startswith("1.000 [")
    assert by_signal["cross-entropy, verifier, response"][4].bold
    assert by_signal["predictive entropy, verifier, response"][-1].text == "-"
    assert not by_signal["predictive entropy, verifier, response"][4].bold
    assert any("2605.29009" in note and "Not comparable" in note for note in table.notes)
    assert any("no separate answer span" in note for note in table.notes)
    spans = signal_table([Separation(separation_record(answer=True))])
    assert not any("no separate answer span" in note for note in spans.notes)
    assert "cross-entropy, generator, answer" in {row[3].text for row in spans.groups[0]}


def test_the_contrast_is_verifier_less_generator() -> None:
    one = Separation(separation_record(answer=True))
    table = contrast_table([one])
    assert [row[2].text for row in table.groups[0]] == [
        "cross-entropy, response",
        "cross-entropy, answer",
        "predictive entropy, response",
        "predictive entropy, answer",
    ]
    first = table.groups[0][0]
    rows = rows_of(one.record)
    expected = (
        rows["cross_entropy verifier response"]["auroc"] - rows["cross_entropy generator response"]["auroc"]
    )
    assert float(first[3].text.split()[0]) == pytest.approx(expected, abs=5e-4) and first[3].bold
    # Qwen2.5-1.5B, Qwen2.5-Math-1.5B, gemma-2-2b, Llama-3.2-1B, by hand from the file
    assert first[-1].text == "+0.343, +0.060, +0.016, -0.054"


def test_the_published_file_is_shown_whole() -> None:
    raw, frame = pd.read_csv(PUBLISHED), published_frame()
    assert set(frame["signal"]) <= set(SIGNALS) and len(frame) == len(raw) == 16
    mixed = frame[(frame["generator"] == "Qwen/Qwen2.5-1.5B")].set_index("signal")["auroc"]
    assert (
        mixed["cross_entropy verifier answer"] == 0.919 and mixed["cross_entropy generator response"] == 0.518
    )
    shown = published_table()
    assert sum(map(len, shown.groups)) == 16 and shown.groups[0][0][0].text == "google/gemma-2-2b"
    shares = raw["correct_n"] / raw["generator_accuracy"]
    assert np.allclose(shares, 800, rtol=0.05)  # what the note says of the accuracies


def test_labels_and_names() -> None:
    assert signal_label("predictive_entropy verifier answer") == "predictive entropy, verifier, answer"
    assert signal_label(LENGTH) == "length"
    found = [
        Separation(separation_record(separation_id=f"x-{end}", seed=seed))
        for end, seed in (("aaaaaaaa", 0), ("bbbbbbbb", 0), ("cccccccc", 1))
    ]
    assert display_names(found) == ["qwen sft (aaaaaaaa)", "qwen sft (bbbbbbbb)", "qwen sft, seed 1"]


def texts_of(figure: Any) -> str:
    import matplotlib.text

    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("answer", [False, True])
def test_figures_say_scale_units_and_what_is_missing(answer: bool) -> None:
    found = [
        Separation(separation_record(answer, separation_id=f"s{i}", verifier=verifier))
        for i, verifier in enumerate(("gemma", "gemma_sft"))
    ]
    for plot in (
        auroc_plot(found[:1]),
        distribution_plot(found[:1], "response"),
        scatter_plot(found[:1]),
        verifier_plot(found),
    ):
        assert "scale: miniature" in texts_of(plot.figure) and "scale: miniature" in plot.caption
    auroc = texts_of(auroc_plot(found[:1]).figure)
    assert "not published" in auroc and "paper's scale" in auroc
    assert ("answer = response" in auroc) is not answer
    assert "nats/token" in texts_of(distribution_plot(found[:1], "response").figure)
    assert "nats/token" in texts_of(scatter_plot(found[:1]).figure)
    assert measured_spans(found) == (["response", "answer"] if answer else ["response"])
    if answer:
        assert "over the answer" in texts_of(distribution_plot(found[:1], "answer").figure)
        assert "qwen sft, answer" in texts_of(scatter_plot(found[:1]).figure)
    assert "gemma_sft" in texts_of(verifier_plot(found).figure)
    assert "itself" in texts_of(verifier_plot(found).figure)


def test_the_panel_of_the_published_has_only_the_published() -> None:
    ours, _, published = auroc_plot([Separation(separation_record())]).figure.axes
    marks = [line for line in published.lines if line.get_marker() not in ("None", "")]
    assert sorted(x for line in marks for x in line.get_xdata()) == sorted(published_frame()["auroc"])
    assert all(line.get_markerfacecolor() == "white" for line in marks)
    drawn = [line for line in ours.lines if line.get_marker() not in ("None", "")]
    assert len(drawn) == 5


def test_the_section_writes_tables_and_figures_and_is_empty_without_records(tmp_path: Path) -> None:
    section = separation_section(
        [separation_record(), separation_record(separation_id="b", verifier="gemma_sft")], tmp_path
    )
    assert [len(part.images) for part in section.parts] == [4, 0]
    frame = pd.read_csv(tmp_path / "tables" / "miniature-separation.csv")
    assert len(frame) == 10 and set(frame["verifier"]) == {"gemma", "gemma_sft"}
    assert (tmp_path / "tables" / "published-separation.csv").exists()
    assert {p.stem for p in (tmp_path / "figures").glob("*.png")} == {
        f"separation-{kind}-miniature-world"
        for kind in ("auroc", "distributions-response", "scatter", "verifiers")
    }
    assert separation_section([], tmp_path).parts == []


def test_records_are_read_in_order_and_once(tmp_path: Path, make_record: Callable[..., Any]) -> None:
    for name, regime in (("a", "instruct"), ("b", "sft")):
        write_record(
            tmp_path / f"{name}.separation.json", separation_record(separation_id=name, regime=regime)
        )
    assert [r.regime for r in load_separation([tmp_path])] == ["sft", "instruct"]
    assert len(load_all([tmp_path]).separation) == 2
    write_record(tmp_path / "c" / "separation.json", separation_record(separation_id="a"))
    with pytest.raises(ValueError, match="records a again"):
        load_separation([tmp_path])

"""Separation tables and figures on responses whose signals are known, beside the published file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shown import marks, texts
from synthetic_records import PROMPTS, SAMPLES, separation_record

from analysis.figures.separation import (
    auroc_plot,
    distribution_plot,
    measured_spans,
    scatter_plot,
    verifier_plot,
)
from analysis.sections.topics import separation_section
from analysis.tables.published_separation import (
    LENGTH,
    PUBLISHED,
    SIGNALS,
    published_frame,
    published_table,
)
from analysis.tables.separation import (
    Separation,
    contrast_table,
    display_names,
    separation_frame,
    signal_table,
)
from cme.records import SeparationRecord

VERIFIER, GENERATOR = "cross_entropy verifier response", "cross_entropy generator response"


def by_signal(*records: SeparationRecord) -> dict[str, dict[str, Any]]:
    frame = separation_frame([Separation(record) for record in records])
    return {row["signal"]: row for row in frame.to_dict("records")}


def test_auroc_of_perfect_and_of_constant_signals() -> None:
    rows = by_signal(separation_record())
    assert list(rows) == [s for s in SIGNALS if not s.endswith(" answer")]
    knows, blind, length = rows[VERIFIER], rows["predictive_entropy verifier response"], rows[LENGTH]
    assert (knows["auroc"], knows["within"], knows["hi"]) == (1, 1, 1) and knows["lo"] < 1
    assert (knows["right"], knows["wrong"], knows["mixed_prompts"]) == (64, 64, PROMPTS)
    assert knows["accuracy"] == 0.5 and rows[GENERATOR]["lo"] > 0.5
    assert (blind["auroc"], blind["within"]) == (0.5, 0.5)
    assert (length["auroc"], length["right_mean"], length["wrong_mean"]) == (
        0,
        3,
        2,
    )  # wrong ones are shorter


def test_responses_without_answer_or_grade_are_counted_and_left_out() -> None:
    number = PROMPTS * SAMPLES
    correct: list[bool | None] = [None, False, False, *[i % 2 == 0 for i in range(3, number)]]
    answered, cut = [i != 1 for i in range(number)], {"generator": 0, "verifier": 2}
    one = Separation(separation_record(correct=correct, answered=answered, left_out=7, cut=cut))
    assert len(one.correct) == len(one.prompts) == len(one.values[LENGTH]) == number - 2
    assert one.accuracy == pytest.approx(sum(c is True for c in correct) / (number - 1))
    notes = " ".join(signal_table([one]).notes)
    counts = ("7 prompts", "1 responses could not", "1 responses without an answer", "2 responses cut")
    assert all(count in notes for count in (*counts, "62 right and 64 wrong"))


@pytest.mark.usefixtures("undrawn")
def test_a_generator_that_never_answers_has_figures_too(tmp_path: Path) -> None:
    never = [False] * (PROMPTS * SAMPLES)
    records = [separation_record(answer=True, correct=never, answered=never)]
    parts = separation_section(records, tmp_path).parts
    assert len(parts[0].images) == 4


def test_a_response_without_a_value_is_in_no_pair_of_that_signal() -> None:
    record = separation_record()
    record.signals[VERIFIER][0] = None
    rows = by_signal(record)
    assert (rows[VERIFIER]["unscored"], rows[LENGTH]["unscored"], rows[VERIFIER]["right"]) == (1, 0, 63)
    assert [wins.right.sum() for wins in Separation(record).wins(VERIFIER, GENERATOR)] == [63, 63]


def test_the_table_has_the_published_range_in_its_own_column() -> None:
    table = signal_table([Separation(separation_record())])
    assert "scale: miniature" in table.title and table.header[-1] == "published, other scale"
    rows = {row[3].text: row for row in table.groups[0]}
    knows = rows["cross-entropy, verifier, response"]
    blind = rows["predictive entropy, verifier, response"]
    assert knows[4].text.startswith("1.000 [") and (knows[4].bold, blind[4].bold) == (True, False)
    assert (knows[-1].text, blind[-1].text) == ("0.640 to 0.861", "0.693 to 0.890")
    assert any("2605.29009" in note for note in table.notes)
    spans = signal_table([Separation(separation_record(answer=True))])
    assert "cross-entropy, generator, answer" in [row[3] for row in texts(spans)]
    assert len(spans.notes) == len(table.notes) - 1  # the note on the missing answer span


def test_the_contrast_is_verifier_minus_generator() -> None:
    one = Separation(separation_record(answer=True))
    table = contrast_table([one])
    measures = ("cross-entropy", "predictive entropy")
    assert [row[2] for row in texts(table)] == [f"{m}, {s}" for m in measures for s in ("response", "answer")]
    first, rows = table.groups[0][0], by_signal(one.record)
    expected = rows[VERIFIER]["auroc"] - rows[GENERATOR]["auroc"]
    assert float(first[3].text.split()[0]) == pytest.approx(expected, abs=5e-4) and first[3].bold
    # Qwen2.5-1.5B, Qwen2.5-Math-1.5B, gemma-2-2b, Llama-3.2-1B, by hand from the file
    assert first[-1].text == "+0.343, +0.060, +0.016, -0.054"


def test_the_published_file_is_shown_whole() -> None:
    raw, frame = pd.read_csv(PUBLISHED), published_frame()
    assert set(frame["signal"]) <= set(SIGNALS) and len(frame) == len(raw) == 32
    qwen = frame[(frame["generator"] == "Qwen/Qwen2.5-1.5B")].set_index("signal")["auroc"]
    assert (qwen["cross_entropy verifier answer"], qwen[GENERATOR]) == (0.919, 0.518)
    shown = texts(published_table())
    assert len(shown) == 32 + 24 and shown[0][:2] == ["MATH-500", "google/gemma-2-2b"]
    counted = raw.dropna(subset=["correct_n"])
    shares = counted["correct_n"] / counted["generator_accuracy"]
    assert np.allclose(shares, 800, rtol=0.05)  # as the note on the accuracies states


def test_equal_names_are_told_apart_by_their_ids() -> None:
    ids = (("aaaaaaaa", 0), ("bbbbbbbb", 0), ("cccccccc", 1))
    found = [Separation(separation_record(separation_id=f"x-{end}", seed=seed)) for end, seed in ids]
    assert display_names(found) == ["Qwen SFT (aaaaaaaa)", "Qwen SFT (bbbbbbbb)", "Qwen SFT, seed 1"]


def words(figure: Any) -> str:
    return "\n".join(a.get_text() for a in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_figures_show_scale_units_and_what_is_missing() -> None:
    plain = Separation(separation_record())
    first, second = (
        Separation(separation_record(True, separation_id=verifier, verifier=verifier))
        for verifier in ("gemma", "gemma_sft")
    )
    assert measured_spans([plain]) == ["response"]
    assert measured_spans([first, second]) == ["response", "answer"]
    expected = {
        auroc_plot([plain]): ["not published", "paper's scale", "answer = response"],
        scatter_plot([first]): ["nats/token", "Qwen SFT, answer"],
        verifier_plot([first, second]): ["Gemma SFT", "itself"],
        distribution_plot([first], "answer"): ["nats/token", "over the answer"],
    }
    for plot, shown in expected.items():
        assert all(text in words(plot.figure) for text in ("scale: miniature", *shown))
        assert "scale: miniature" in plot.caption


def test_published_and_own_values_have_separate_panels() -> None:
    ours, _, published = marks(auroc_plot([Separation(separation_record())]).figure)
    assert published == sorted(published_frame()["auroc"]) and len(ours) == 5


@pytest.mark.usefixtures("undrawn")
def test_the_section_writes_tables_and_figures_and_is_empty_without_records(tmp_path: Path) -> None:
    records = [separation_record(), separation_record(separation_id="b", verifier="gemma_sft")]
    assert [len(part.images) for part in separation_section(records, tmp_path).parts] == [4, 0]
    frame = pd.read_csv(tmp_path / "tables" / "miniature-separation.csv")
    assert len(frame) == 10 and set(frame["verifier"]) == {"gemma", "gemma_sft"}
    assert (tmp_path / "tables" / "published-separation.csv").exists()
    kinds = ("auroc", "distributions-response", "scatter", "verifiers")
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert figures == {f"separation-{kind}-miniature-world" for kind in kinds}
    assert separation_section([], tmp_path).parts == []

"""The published figures: each file has a source, and one without is refused by name."""

from pathlib import Path

import pytest

from analysis.records import published as module
from analysis.records.published import (
    FOLDER,
    main_table_range,
    published_auroc,
    published_kl_weights,
    published_sweep_range,
    read_published,
    sources_of,
)


def test_every_published_file_has_a_source_and_every_source_a_file() -> None:
    assert set(sources_of()) == {path.name for path in FOLDER.glob("*.csv")} - {module.SOURCES}


@pytest.mark.parametrize("source", ['other.csv,"a paper"', "mine.csv,   "])
def test_a_file_without_a_source_is_refused_by_name(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "mine.csv").write_text("value\n1\n")
    (tmp_path / "sources.csv").write_text(f"file,source\n{source}\n")
    with pytest.raises(ValueError, match=r"mine\.csv has no source"):
        read_published("mine.csv")
    (tmp_path / "sources.csv").write_text("file,source\nmine.csv,a paper\n")
    assert read_published("mine.csv")["value"].tolist() == [1]


@pytest.mark.parametrize(
    ("file", "expected"),
    [("released_evaluation.csv", [83.5, 51.5, 50.0, 50.0]), ("fixed_reference.csv", [7.75, 21.5, 20.75])],
)
def test_win_rates_are_those_of_their_counts(file: str, expected: list[float]) -> None:
    frame = read_published(file)
    assert (frame["wins"] + frame["losses"] + frame["ties"] == frame["prompts"]).all()
    rates = 100 * (frame["wins"] + frame["ties"] / 2) / frame["prompts"]
    assert rates.tolist() == frame["win_rate_pct"].tolist() == expected


def test_the_sweep_in_mathematics_ends_where_its_course_ends() -> None:
    sweep = read_published("verifier_sweep_math.csv").set_index("verifier")["generator_math500_pass1_pct"]
    course = read_published("verifier_sweep_math_steps.csv").pivot(index="verifier", columns="step")
    assert (course.iloc[:, -1].loc[sweep.index].to_numpy() == sweep.to_numpy()).all()
    ends = read_published("math_accuracy.csv").iloc[0]
    assert [100 * ends["after_lowest"], 100 * ends["after_highest"]] == pytest.approx(
        [sweep.min(), sweep.max()]
    )


def test_half_widths_are_those_of_a_share_of_one_half() -> None:
    value = read_published("evaluation.csv").set_index("quantity")["value"]
    for prompts, end in ((200, ""), (805, " at full size")):
        expected = 196 * (0.25 / prompts) ** 0.5
        assert value[f"half-width of a 95 % interval{end}"] == pytest.approx(expected, abs=0.1)


def test_published_figures_in_words() -> None:
    assert main_table_range() == (52.5, 71.4)
    assert published_sweep_range(["qwen"]) == "63.0 to 64.2 %"
    assert published_kl_weights() == "0 in 3 cells, 0.01 in 4 cells"
    difference = published_auroc("ce_verifier_full") - published_auroc("ce_generator_full")
    assert sorted(difference.round(3)) == [-0.054, 0.016, 0.060, 0.343]

"""`docs/results.md`: generated between its markers from the tables that were written."""

from pathlib import Path

import pytest

from analysis.records.read import Records
from analysis.report.results_page import END, START, update_results_page
from cme.records import ExperimentRecord


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name, text in {
        "tables/miniature.md": "### Win rate\n\n| a |\n\n- a note\n\n### Quality\n\n| b |\n",
        "tables/miniature-rewards.md": "### Rewards\n\n| c |\n",
        "tables/miniature-kl-beta.md": "### Beta\n",
        "reproduction.md": "# Page\n\n## Verdicts\n\n| claim |\n\n## Claim by claim\n\nlong\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_part_between_the_markers_is_replaced_and_nothing_else(make_record, out: Path) -> None:
    run = make_record()
    plan = ExperimentRecord("kl_beta", "miniature", [run.run_id, "missing"])
    page = out / "results.md"
    page.write_text(f"# Results\n{START}\nold\n{END}\nend\n")
    for _ in range(2):
        update_results_page(page, Records([run], [], [], [plan]), out)
        text = page.read_text()
        assert (
            text.startswith(f"# Results\n{START}\n") and text.endswith(f"{END}\nend\n") and "old" not in text
        )
        assert [name in text for name in ("### Win rate", "a note", "### Rewards", "| claim |")] == [True] * 4
        assert "### Quality" not in text and "long" not in text
        assert "1 of 2 runs" in text and "miniature-kl-beta.md" in text


def test_a_page_without_markers_is_refused_by_name(out: Path) -> None:
    page = out / "results.md"
    page.write_text(f"{START}\n")
    with pytest.raises(ValueError, match=r"results\.md lacks the markers"):
        update_results_page(page, Records([], [], [], []), out)

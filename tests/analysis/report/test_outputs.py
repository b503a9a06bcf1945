"""What `python -m analysis` writes of the committed records: every figure legible, every LaTeX table compiled."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from layout import layout_faults

from analysis.figures.style import Plot
from analysis.records.read import load_all
from analysis.report.build import write
from analysis.stats import intervals
from analysis.tables.cells import build_cells
from analysis.tables.latex import to_latex
from analysis.tables.render import Entry, Table

ROOT = Path(__file__).parents[3]
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{array,booktabs,longtable}
\begin{document}
"""
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on the PATH")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Plot]]]:
    """The folder with all outputs of the committed records, and the figures by name."""
    out, plots, save = tmp_path_factory.mktemp("outputs"), {}, Plot.save

    def keep(plot: Plot, directory: Path) -> Path:
        plots[plot.name] = plot
        return save(plot, directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plot, "save", keep)
        patch.setattr(intervals, "RESAMPLES", 200)  # layout does not depend on the bootstrap's precision
        intervals.resample_counts.cache_clear()
        records = load_all([ROOT / "results" / "reference"])
        write(records, build_cells(records.overview), out)
    intervals.resample_counts.cache_clear()
    yield out, plots


def compile_latex(folder: Path, files: list[Path]) -> str:
    """The log of pdflatex for a document with all files, each on a page of its own."""
    inputs = "\n".join(rf"\input{{{path.with_suffix('')}}}\clearpage" for path in files)
    (folder / "all.tex").write_text(f"{PREAMBLE}{inputs}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "all.log").read_text(errors="replace")


@pytest.mark.slow
def test_every_figure_of_the_committed_records_is_legible(outputs: tuple[Path, dict[str, Plot]]) -> None:
    faults = {name: found for name, plot in outputs[1].items() if (found := layout_faults(plot.figure))}
    assert faults == {} and len(outputs[1]) > 30


@pytest.mark.slow
@needs_latex
def test_every_table_compiles_with_a_label_of_its_own_and_fits_the_text(
    outputs: tuple[Path, dict[str, Plot]], tmp_path: Path
) -> None:
    files = sorted((outputs[0] / "tables" / "latex").glob("*/*.tex"))
    log = compile_latex(tmp_path, files)
    assert len(files) > 30 and "Overfull" not in log and "too large" not in log and "multiply" not in log
    labels = [label for path in files for label in re.findall(r"\\label\{(.*?)\}", path.read_text())]
    assert len(labels) == len(set(labels)) == len(files)


@needs_latex
def test_hostile_text_and_any_shape_compile(tmp_path: Path) -> None:
    words = [
        "√KL †‡° → ≥ Δ …",
        r"\input{x} $x_{$ %#&~^|",
        "東京 🎉 é ß",
        "[n/a]",
        "*",
        "-0.5 [-1.00, 2.00]",
        "",
    ]
    files = []
    for name, (columns, rows) in {"wide": (14, 5), "long": (4, 90), "one": (1, 1)}.items():
        cells = [
            [Entry(words[(row + column) % len(words)], bold=row % 2 == 0) for column in range(columns)]
            for row in range(rows)
        ]
        table = Table(name, words[1], (words * 2)[:columns], [cells], words[:3])
        files.append(tmp_path / f"{name}.tex")
        files[-1].write_text(to_latex(table, f"tab:{name}"), encoding="utf-8")
    log = compile_latex(tmp_path, files)
    assert "Overfull" not in log and "multiply" not in log

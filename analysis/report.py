"""One self-contained HTML report, and `build`, which writes it with every table and figure."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from analysis.cells import Cell, cells_frame, cells_of
from analysis.examples import Example, examples_of
from analysis.figures import figures_of
from analysis.load import history_frame, last_step, load_all
from analysis.methods import SCALES, in_order
from analysis.metrics import LEVEL, MIN_PROMPTS, RESAMPLES
from analysis.render import Table, slug, to_latex, to_markdown
from analysis.stress import stress_frame, stress_plot, stress_table
from analysis.tables import tables_of
from analysis.template import TEMPLATE
from cme.records import RunRecord, StressRecord

ABOUT = {
    "miniature": (
        "Models of about a million parameters, made for this project, in a small world whose truth is known. "
        "These numbers measure the method; they are not comparable with the paper's."
    ),
    "laptop": "Small real language models on our own prompts. Not comparable with the paper's numbers.",
    "paper": "The paper's checkpoints, prompts and kind of judge.",
    "imported": "Outputs that were made elsewhere, read from files; nothing of them was trained here.",
}
UNKNOWN_SCALE = "A scale of its own; its numbers are not comparable with those of any other."


@dataclass(frozen=True)
class Image:
    """A figure as the report embeds it: PNG bytes in base64."""

    data: str
    caption: str


@dataclass(frozen=True)
class Run:
    """What a run has to say for itself: how far it came, why it stopped, what it warned of."""

    run_id: str
    steps: int
    stopped: str | None
    warnings: Sequence[str]


@dataclass(frozen=True)
class Block:
    """All that the report shows of one scale."""

    scale: str
    about: str
    records: Sequence[RunRecord]
    results: Sequence[Table]
    evidence: Sequence[Table]
    images: Sequence[Image]
    notes: Sequence[str]
    flagged: Sequence[Run]
    examples: Sequence[tuple[Cell, Sequence[Example]]]


@dataclass(frozen=True)
class Stress:
    """The stress tables of one scale and their figure."""

    scale: str
    tables: Sequence[Table]
    image: Image


def build(record_dirs: Iterable[Path], out: Path) -> Path:
    """Load the records under the directories and write everything; returns the path of the report."""
    records, stress = load_all(record_dirs)
    return write(records, cells_of(records), out, stress)


def write(
    records: Sequence[RunRecord], cells: Sequence[Cell], out: Path, stress: Sequence[StressRecord] = ()
) -> Path:
    """Write tables/, figures/ and report.html under `out`; returns the path of the report."""
    out.mkdir(parents=True, exist_ok=True)
    blocks = []
    for scale in in_order((record.scale for record in records), SCALES):
        own = [record for record in records if record.scale == scale]
        blocks.append(block(own, [cell for cell in cells if cell.scale == scale], out))
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = page.from_string(TEMPLATE).render(
        blocks=blocks,
        stress=[
            stress_of([record for record in stress if record.scale == scale], out)
            for scale in in_order((record.scale for record in stress), SCALES)
        ],
        runs=len(records),
        level=round(100 * LEVEL),
        resamples=f"{RESAMPLES:,}",
        few=MIN_PROMPTS,
    )
    report = out / "report.html"
    # A model can emit half a surrogate pair, which UTF-8 cannot hold.
    report.write_text(html, encoding="utf-8", errors="replace")
    return report


def block(records: Sequence[RunRecord], cells: Sequence[Cell], out: Path) -> Block:
    """Write one scale's tables and figures, and gather what the report shows of it."""
    scale = records[0].scale
    tables = [tables_of(of_judge(cells, judge)) for judge in judges_of(cells)]
    every = [table for of_one in tables for table in of_one]
    write_tables(every, cells_frame(cells), out / "tables" / slug(scale))
    history = history_frame(records)
    images = []
    for plot in figures_of(cells, history):
        png = plot.save(out / "figures")
        images.append(image_of(png, plot.caption))
    return Block(
        scale=scale,
        about=ABOUT.get(scale, UNKNOWN_SCALE),
        records=records,
        results=[table for *results, _ in tables for table in results],
        evidence=[evidence for *_, evidence in tables],
        images=images,
        notes=notes_on(records),
        flagged=[run_of(record) for record in records if record.stopped is not None or record.warnings],
        examples=[(cell, examples_of(cell, records)) for cell in cells],
    )


def stress_of(records: Sequence[StressRecord], out: Path) -> Stress:
    """Write one scale's stress tables and their figure, and gather what the report shows of them."""
    tables, plot = [stress_table(record) for record in records], stress_plot(records)
    write_tables(tables, stress_frame(records), out / "tables" / f"{slug(records[0].scale)}-stress")
    return Stress(records[0].scale, tables, image_of(plot.save(out / "figures"), plot.caption))


def image_of(png: Path, caption: str) -> Image:
    """A figure's file with its caption."""
    return Image(b64encode(png.read_bytes()).decode(), caption)


def judges_of(cells: Sequence[Cell]) -> list[str]:
    """The judges of some cells."""
    return in_order(cell.judge for cell in cells)


def of_judge(cells: Sequence[Cell], judge: str) -> list[Cell]:
    """The cells that a judge decided."""
    return [cell for cell in cells if cell.judge == judge]


def write_tables(tables: Sequence[Table], frame: pd.DataFrame, stem: Path) -> None:
    """Write one scale's tables as markdown and LaTeX, and the frame behind them as CSV, unrounded."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text("\n".join(to_markdown(table) for table in tables), encoding="utf-8")
    stem.with_suffix(".tex").write_text("\n".join(to_latex(table) for table in tables), encoding="utf-8")
    frame.to_csv(stem.with_suffix(".csv"), index=False, lineterminator="\n")


def notes_on(records: Sequence[RunRecord]) -> list[str]:
    """Which checkpoints took part, and what was not measured, in sentences."""
    notes = [f"{role}: {', '.join(names)}." for role, names in checkpoints_of(records).items()]
    if unjudged := [record.run_id for record in records if not record.verdicts]:
        notes.append(f"Without verdicts, so in no table: {', '.join(unjudged)}.")
    if untrained := [record.run_id for record in records if not last_step(record)]:
        notes.append(f"Without a training history, so in no curve: {', '.join(untrained)}.")
    if not any(value is not None for record in records for value in record.history.get("quality", [])):
        notes.append("True quality was not measured in training, so over-optimisation is not drawn.")
    return notes


def checkpoints_of(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """The checkpoints of some runs, by their part in them."""
    return {
        "Generators": in_order(record.generator_checkpoint for record in records),
        "Verifiers": in_order(record.verifier_checkpoint for record in records),
        "Held-out verifiers": in_order(record.heldout_checkpoint or "none" for record in records),
    }


def run_of(record: RunRecord) -> Run:
    """A run's line in the section on warnings and stops."""
    return Run(record.run_id, last_step(record), record.stopped, record.warnings)

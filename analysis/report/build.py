"""The self-contained HTML report; `build` writes it with all tables and figures."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.experiments import experiment_sections
from analysis.figures.overview import build_figures
from analysis.figures.win_rates import controls_of, main_plot
from analysis.records.builds import seed_names
from analysis.records.frames import history_frame
from analysis.records.names import judge_label, sort_names
from analysis.records.published import main_table_range, sources_of
from analysis.records.read import Records, load_all
from analysis.report.pairs import pack_pairs
from analysis.report.provenance import Provenance, provenance_of
from analysis.sections.base import Image, Section, group_by_scale, write_images, write_tables
from analysis.sections.topics import (
    ACCURACY,
    BENCHMARKS,
    CAPABILITIES,
    CONFOUNDS,
    FAULTS,
    REWARD_PROBE,
    SANITY,
    TRAJECTORY,
    separation_section,
)
from analysis.stats.intervals import FEW_PROMPTS, LEVEL, RESAMPLES
from analysis.tables.benchmarks import benchmark_cells
from analysis.tables.cells import Cell, build_cells, cells_frame
from analysis.tables.findings import Finding, build_findings, headline
from analysis.tables.judging.agreement import agreement_tables
from analysis.tables.judging.controlled import controlled_cells
from analysis.tables.judging.judges import check_judges, sanity_failures
from analysis.tables.render import Table, slug
from analysis.tables.trajectory import fall_after_peak
from analysis.tables.win_rates import win_rate_tables
from cme.records import MAJORITY, RunRecord

ABOUT = {
    "miniature": (
        "Models of about a million parameters, trained for this project, in a small world whose truth is known. "
        "These numbers test the method; they are not comparable with the paper's."
    ),
    "laptop": "Small real language models on our own prompts. Not comparable with the paper's numbers.",
    "paper": "The paper's checkpoints, prompts and kind of judge.",
    "imported": "Outputs generated elsewhere and read from files; nothing was trained here.",
}
PAGE = Path(__file__).with_name("page")
SCRIPTS = ("difference.js", "pairs.js", "browser.js")
EVIDENCE = ("contrast", "agreement", "seeds", "evidence")
"""Tables shown after the figures, by the first word of their names."""
SHOWN_FALLS = 5
"""Number of runs whose quality fell after its peak that a note describes; the others are counted."""
UNKNOWN_SCALE = "Another scale; its numbers are not comparable with those of any other."


@dataclass(frozen=True)
class Entry:
    """A section in the list of contents, with its tables."""

    id: str
    title: str
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Result:
    """The result of one scale and judge: one sentence and, of the scale's main judge, the main figure."""

    judge: str
    sentence: str
    image: Image | None
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Block:
    """The content of the report for one scale; `total` counts the runs of all its experiments."""

    scale: str
    about: str
    records: Sequence[RunRecord]
    total: int
    headlines: Sequence[Result]
    results: Sequence[Table]
    evidence: Sequence[Table]
    images: Sequence[Image]
    notes: Sequence[str]
    provenance: Provenance

    @property
    def seeds(self) -> str:
        """The seeds of all runs, each once."""
        return seed_names(sorted({record.seed for record in self.records}))

    @property
    def flagged(self) -> list[RunRecord]:
        """The runs that stopped early or warned."""
        return [record for record in self.records if record.stopped is not None or record.warnings]


def build(record_dirs: Iterable[Path], out: Path) -> Path:
    """Load the records under the directories and write everything; returns the path of the report."""
    records = load_all(record_dirs)
    return write(records, build_cells(records.overview, check_judges(records.sanity)), out)


def write(records: Records, cells: Sequence[Cell], out: Path) -> Path:
    """Write tables/, figures/ and report.html under `out`; returns the path of the report."""
    out.mkdir(parents=True, exist_ok=True)
    totals = Counter(run.scale for run in records.runs)
    blocks = [
        write_block(runs, [cell for cell in cells if cell.scale == scale], totals[scale], out)
        for scale, runs in group_by_scale(records.overview)
    ]
    sections = write_sections(records, cells, out)
    contents = list_contents(blocks, sections, pairs=any(record.pairs for record in records.overview))
    html = render(
        contents=contents,
        number={entry.id: f"{place}." for place, entry in enumerate(contents, 1)},
        blocks=blocks,
        sections=sections,
        judge_failures=[
            sentence for record in records.sanity for sentence in sanity_failures(record, records.runs)
        ],
        runs=len(records.runs),
        shown=len(records.overview),
        pairs=sum(len(record.pairs) for record in records.overview),
        data=pack_pairs(records.overview),
        level=round(100 * LEVEL),
        resamples=f"{RESAMPLES:,}",
        few=FEW_PROMPTS,
    )
    report = out / "report.html"
    # A model can emit half a surrogate pair, which UTF-8 cannot encode.
    report.write_text(html, encoding="utf-8", errors="replace")
    return report


def render(**content: Any) -> str:
    """The page. Its content security policy allows only its own style and script, identified by their digests."""
    pages = Environment(
        loader=PackageLoader("analysis.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def digest(text: str) -> str:
        return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"

    style = (PAGE / "report.css").read_text()
    script = "\n".join((PAGE / name).read_text() for name in SCRIPTS)
    return pages.get_template("report.html.j2").render(
        style=style, script=script, style_digest=digest(style), script_digest=digest(script), **content
    )


def list_contents(blocks: Sequence[Block], sections: Sequence[Section], pairs: bool) -> list[Entry]:
    """The sections of the page in their order, each with its tables."""
    return [
        Entry("result", "The result"),
        *(
            Entry(f"scale-{n}", f"Scale: {b.scale}", [*b.results, *b.evidence])
            for n, b in enumerate(blocks, 1)
        ),
        *(Entry(s.id, s.title, [table for part in s.parts for table in part.tables]) for s in sections),
        *([Entry("pairs", "The pairs of responses")] if pairs else []),
        *([Entry("settings", "Settings and provenance")] if blocks else []),
        Entry("methods", "How the numbers are computed"),
    ]


def write_block(records: Sequence[RunRecord], cells: Sequence[Cell], total: int, out: Path) -> Block:
    """Write one scale's tables and figures, and return its content in the report."""
    scale = records[0].scale
    by_judge = {judge: cells_of_judge(cells, judge) for judge in list_judges(cells)}
    tables = [table for of_judge in by_judge.values() for table in win_rate_tables(of_judge)]
    tables += agreement_tables(records)
    evidence = [table for table in tables if table.name.split("-")[0] in EVIDENCE]
    write_tables(tables, cells_frame(cells), out / "tables" / slug(scale))
    return Block(
        scale=scale,
        about=ABOUT.get(scale, UNKNOWN_SCALE),
        records=records,
        total=total,
        headlines=write_results(by_judge, out),
        results=[table for table in tables if table not in evidence],
        evidence=evidence,
        images=write_images(build_figures(cells, history_frame(records)), out),
        notes=block_notes(records),
        provenance=provenance_of(records),
    )


def write_results(by_judge: Mapping[str, Sequence[Cell]], out: Path) -> list[Result]:
    """The result under each judge, the main judge's first and with the main figure of CME and its controls."""
    judges = sorted(by_judge, key=lambda judge: not judge.endswith(f": {MAJORITY}"))
    results = []
    for judge in judges:
        cells, image = by_judge[judge], None
        if judge == judges[0] and cells[0].scale != "imported" and any(c.reward == "cme" for c in cells):
            name = f"result-{slug(cells[0].scale)}-{slug(judge)}"
            source = sources_of()["main_table.csv"]
            plot = main_plot(name, cells, main_table_range(), source, controls_of(cells))
            [image] = write_images([plot], out)
        results.append(Result(judge_label(judge), headline(cells), image, build_findings(cells)))
    return results


def write_sections(records: Records, cells: Sequence[Cell], out: Path) -> list[Section]:
    """Write the tables and figures of the sections other than those of the scales, and return the sections."""
    runs = records.overview
    sections = [
        ACCURACY.write([run for run in records.runs if run.accuracy is not None], out),
        FAULTS.write([run for run in runs if run.grades is not None], out),
        CONFOUNDS.write(controlled_cells(runs, cells), out),
        BENCHMARKS.write(benchmark_cells(runs, cells), out),
        SANITY.write(records.sanity, out),
        TRAJECTORY.write([run for run in runs if run.trajectory is not None], out),
        CAPABILITIES.write([run for run in runs if run.capabilities], out),
        *experiment_sections(records, out),
        REWARD_PROBE.write(records.reward_probes, out),
        separation_section(records.separation, out),
    ]
    return [section for section in sections if section.parts]


def list_judges(cells: Sequence[Cell]) -> list[str]:
    """The judges of some cells, sorted."""
    return sort_names(cell.judge for cell in cells)


def cells_of_judge(cells: Sequence[Cell], judge: str) -> list[Cell]:
    """The cells of one judge."""
    return [cell for cell in cells if cell.judge == judge]


def block_notes(records: Sequence[RunRecord]) -> list[str]:
    """Sentences on the checkpoints involved and on measurements that are missing."""
    checkpoints = {
        "Generators": sort_names(record.generator_checkpoint for record in records),
        "Verifiers": sort_names(record.verifier_checkpoint for record in records),
        "Held-out verifiers": sort_names(record.heldout_checkpoint or "none" for record in records),
    }
    notes = [f"{role}: {', '.join(names)}." for role, names in checkpoints.items()]
    if unjudged := [record.run_id for record in records if not record.verdicts]:
        notes.append(f"Without verdicts, so in no table: {', '.join(unjudged)}.")
    if untrained := [record.run_id for record in records if not record.last_step]:
        notes.append(f"Without a training history, so in no curve: {', '.join(untrained)}.")
    measured = [r for r in records if any(value is not None for value in r.history.get("quality", []))]
    if not measured:
        return [*notes, "True quality was not measured in training, so over-optimisation is not drawn."]
    falls = [f"{record.run_id} ({fall})" for record in measured if (fall := fall_after_peak(record))]
    if falls:
        more = [f"{len(falls) - SHOWN_FALLS} more"] if len(falls) > SHOWN_FALLS else []
        fell = "; ".join([*falls[:SHOWN_FALLS], *more])
        notes.append(
            f"Fewer steps may win more: the quality of sampled completions fell after its peak in {fell}."
        )
    if any(record.trajectory is None for record in measured):
        notes.append(
            "A win rate compares greedy responses, and the training curves show sampled ones: a policy can win less "
            "after more steps although its curve still rises. With selection.every=10, the report has the curve of "
            "greedy quality and of the win rate over steps, which shows where that begins."
        )
    return notes

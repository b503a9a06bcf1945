"""The self-contained HTML report; `build` writes it with all tables and figures."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.experiments import experiment_sections
from analysis.figures.overview import build_figures
from analysis.figures.win_rates import controls_of, main_plot
from analysis.records.builds import seed_names
from analysis.records.frames import history_frame
from analysis.records.names import judge_label, sort_names, training_names
from analysis.records.published import main_table_range, sources_of
from analysis.records.read import Records, load_all
from analysis.report.pairs import pack_pairs
from analysis.report.provenance import provenance_of
from analysis.sections.base import Section, group_by_scale, write_images, write_tables
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
from analysis.tables.cells import Cell, build_cells, cells_frame, group_by_judge
from analysis.tables.findings import build_findings, headline
from analysis.tables.judging.agreement import agreement_tables
from analysis.tables.judging.benchmarks import benchmark_cells
from analysis.tables.judging.controlled import controlled_cells
from analysis.tables.judging.judges import check_judges, sanity_failures
from analysis.tables.render import Table, slug
from analysis.tables.training.trajectory import fall_after_peak
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
        number={entry["id"]: f"{place}." for place, entry in enumerate(contents, 1)},
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


def list_contents(
    blocks: Sequence[Mapping[str, Any]], sections: Sequence[Section], pairs: bool
) -> list[dict[str, Any]]:
    """The sections of the page in their order: `id`, `title` and `tables` of each."""
    listed: list[tuple[str, str, Sequence[Table]]] = [
        ("result", "The result", []),
        *(
            (f"scale-{n}", f"Scale: {block['scale']}", [*block["results"], *block["evidence"]])
            for n, block in enumerate(blocks, 1)
        ),
        *((s.id, s.title, [table for part in s.parts for table in part.tables]) for s in sections),
        *([("pairs", "The pairs of responses", [])] if pairs else []),
        *([("settings", "Settings and provenance", [])] if blocks else []),
        ("methods", "How the numbers are computed", []),
    ]
    return [{"id": name, "title": title, "tables": tables} for name, title, tables in listed]


def write_block(records: Sequence[RunRecord], cells: Sequence[Cell], total: int, out: Path) -> dict[str, Any]:
    """Write one scale's tables and figures, and return its content by its names in the page's template.

    `total` counts the runs of all experiments of the scale.
    """
    scale = records[0].scale
    by_judge = group_by_judge(cells)
    tables = [table for of_judge in by_judge.values() for table in win_rate_tables(of_judge)]
    tables += agreement_tables(records)
    evidence = [table for table in tables if table.name.split("-")[0] in EVIDENCE]
    write_tables(tables, cells_frame(cells), out / "tables" / slug(scale))
    return {
        "scale": scale,
        "about": ABOUT.get(scale, UNKNOWN_SCALE),
        "records": records,
        "total": total,
        "seeds": seed_names(sorted({record.seed for record in records})),
        "flagged": [record for record in records if record.stopped is not None or record.warnings],
        "headlines": write_results(by_judge, out),
        "results": [table for table in tables if table not in evidence],
        "evidence": evidence,
        "images": write_images(build_figures(cells, history_frame(records, training_names(records))), out),
        "notes": block_notes(records),
        "provenance": provenance_of(records),
    }


def write_results(by_judge: Mapping[str, Sequence[Cell]], out: Path) -> list[dict[str, Any]]:
    """The result under each judge, the main judge's first and with the main figure of CME and its controls."""
    judges = sorted(by_judge, key=lambda judge: not judge.endswith(f": {MAJORITY}"))
    results = []
    for judge in judges:
        cells, image = by_judge[judge], None
        if judge == judges[0] and cells[0].scale != "imported" and any(c.reward == "cme" for c in cells):
            name = f"result-{slug(cells[0].scale)}-{slug(judge)}"
            source = sources_of()["main_table.csv"]
            [image] = write_images(
                [main_plot(name, cells, main_table_range(), source, controls_of(cells))], out
            )
        named = {"judge": judge_label(judge), "sentence": headline(cells), "image": image}
        results.append(named | {"findings": build_findings(cells)})
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

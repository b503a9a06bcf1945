"""`docs/results.md`: its part between two markers is generated from the tables that the analysis wrote."""

from collections.abc import Iterator
from pathlib import Path

from analysis.experiments import EXPERIMENTS
from analysis.records.names import SCALES, plain_name, sort_names
from analysis.records.read import Records
from analysis.tables.render import slug

START, END = "<!-- tables -->", "<!-- end of tables -->"


def update_results_page(page: Path, records: Records, out: Path) -> None:
    """Replace the part of the page between the markers; `out` holds the tables and `reproduction.md`.

    Raises ValueError that names the page if it lacks a marker.
    """
    text = page.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{page} lacks the markers {START} and {END}; add them where the tables belong")
    stems = [slug(scale) for scale in sort_names((run.scale for run in records.runs), SCALES)]
    paths = [out / "tables" / f"{stem}{name}.md" for name in ("", "-rewards") for stem in stems]
    win_rates = "\n".join(first_table(path) for path in paths if path.exists())
    _, _, verdicts = (out / "reproduction.md").read_text(encoding="utf-8").partition("## Verdicts\n")
    verdicts, _, _ = verdicts.partition("\n## ")
    parts = {
        "Win rates": win_rates.rstrip(),
        "Experiments": "\n".join(experiment_lines(records, out)),
        "The paper's claims": verdicts.strip(),
    }
    generated = "\n".join(f"## {title}\n\n{part}\n" for title, part in parts.items() if part)
    page.write_text(f"{before}{START}\n{generated}{END}{after}", encoding="utf-8")


def first_table(path: Path) -> str:
    """The first table of a markdown file, with its title and notes."""
    first, *_ = path.read_text(encoding="utf-8").split("\n### ", 1)
    return f"{first.rstrip()}\n"


def experiment_lines(records: Records, out: Path) -> Iterator[str]:
    """One line per experiment and scale: its title, its runs and the files with its tables by data set."""
    for name, experiment in EXPERIMENTS.items():
        for plan in (plan for plan in records.experiments if plan.name == name):
            runs, stem = records.select_runs(plan), f"{slug(plan.scale)}-{slug(name)}"
            files = {"tables": stem} | {
                f"tables on {plain_name(run.data)}": f"{stem}-{slug(run.data)}" for run in runs
            }
            paths = {text: out / "tables" / f"{file}.md" for text, file in files.items()}
            links = [f"[{text}](../{path})" for text, path in paths.items() if path.exists()]
            if links:
                counted = f"{len(runs)} of {len(plan.runs)} runs"
                yield f"- {experiment.title} ({plan.scale}, {counted}): {', '.join(links)}"

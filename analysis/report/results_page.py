"""`docs/results.md`: its part between two markers is generated from the tables that the analysis wrote."""

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
    parts = [main_tables(records, out), experiment_list(records, out), reproduction_summary(out)]
    generated = "\n".join(part for part in parts if part)
    page.write_text(f"{before}{START}\n{generated}{END}{after}", encoding="utf-8")


def main_tables(records: Records, out: Path) -> str:
    """The win rates of each scale and those of the comparison of rewards, as in the markdown tables."""
    stems = [slug(scale) for scale in sort_names((run.scale for run in records.runs), SCALES)]
    paths = [out / "tables" / f"{stem}{name}.md" for name in ("", "-rewards") for stem in stems]
    return "\n".join(["## Win rates\n", *(first_table(path) for path in paths if path.exists())])


def first_table(path: Path) -> str:
    """The first table of a markdown file, with its title and notes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    ends = [number for number, line in enumerate(lines) if number and line.startswith("### ")]
    return "\n".join(lines[: ends[0] if ends else len(lines)]).rstrip() + "\n"


def experiment_list(records: Records, out: Path) -> str:
    """One line per experiment and scale: its title, its runs and the files with its tables by data set."""
    lines = []
    for name, experiment in EXPERIMENTS.items():
        for plan in (plan for plan in records.experiments if plan.name == name):
            runs, stem = records.of(plan), f"{slug(plan.scale)}-{slug(name)}"
            files = {"tables": stem} | {
                f"tables on {plain_name(run.data)}": f"{stem}-{slug(run.data)}" for run in runs
            }
            paths = {text: out / "tables" / f"{file}.md" for text, file in files.items()}
            links = [f"[{text}](../{path})" for text, path in paths.items() if path.exists()]
            if links:
                counted = f"{len(runs)} of {len(plan.runs)} runs"
                lines.append(f"- {experiment.title} ({plan.scale}, {counted}): {', '.join(links)}")
    return "\n".join(["## Experiments\n", *lines, ""]) if lines else ""


def reproduction_summary(out: Path) -> str:
    """The verdicts on the paper's claims, as in `reproduction.md`."""
    text = (out / "reproduction.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("## Verdicts\n")
    table, _, _ = rest.partition("\n## ")
    return f"## The paper's claims\n\n{table.strip()}\n" if table else ""

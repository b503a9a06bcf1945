"""`python -m analysis [RECORDS_DIR ...] [--out DIR]`: tables, figures, report and reproduction, from records."""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.claims.reproduction import write_reproduction
from analysis.records.read import load_all
from analysis.report.build import write
from analysis.report.results_page import update_results_page
from analysis.sections.base import group_by_scale
from analysis.tables.cells import build_cells, group_by_judge
from analysis.tables.judging.benchmarks import benchmark_cells, benchmark_table
from analysis.tables.judging.judges import check_judges, sanity_table
from analysis.tables.render import to_markdown
from analysis.tables.reward_probe import reward_probe_table
from analysis.tables.separation import signal_tables
from analysis.tables.win_rates import win_rate_table
from cme.runtime.command_line import exit_code
from cme.runtime.files import check_links

REFERENCE, RUNS = Path("results/reference"), Path("results/runs")
RESULTS_PAGE = Path("docs/results.md")


def main(arguments: Sequence[str] | None = None, prog: str = "python -m analysis") -> int:
    """Run the command; returns its exit code (`cme.runtime.command_line`), 2 without any record.

    Of the reference records, it also updates `docs/results.md`, unless `--out` gives another folder.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "records",
        nargs="*",
        type=Path,
        metavar="RECORDS_DIR",
        help=f"default: {REFERENCE}, or {RUNS} where that does not exist",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: analysis/ in the first RECORDS_DIR")
    options = parser.parse_args(arguments)
    directories = options.records or [REFERENCE if REFERENCE.exists() else RUNS]
    out = options.out or directories[0] / "analysis"
    return exit_code(lambda: _analyze(directories, out, default=options.out is None))


def _analyze(directories: list[Path], out: Path, default: bool) -> int:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder with --out")
    if default and out.is_symlink():
        raise ValueError(f"{out} is a link; name the folder to write to with --out")
    check_links(out)
    records = load_all(directories)
    gc.freeze()  # the records stay in memory to the end; without this, collections scan them again and again
    cells = build_cells(records.overview, check_judges(records.sanity))
    report = write(records, cells, out)
    reproduction = write_reproduction(records, out)
    written = [out / "tables", out / "figures", report, reproduction]
    if directories == [REFERENCE] and default and RESULTS_PAGE.exists():
        update_results_page(RESULTS_PAGE, records, out)
        written.append(RESULTS_PAGE)
    tables = [
        *(
            win_rate_table(judged)
            for _, of_scale in group_by_scale(cells)
            for judged in group_by_judge(of_scale).values()
        ),
        *(benchmark_table(own) for _, own in group_by_scale(benchmark_cells(records.overview, cells))),
        *map(reward_probe_table, records.reward_probes),
        *(sanity_table(of_scale) for _, of_scale in group_by_scale(records.sanity)),
        *(table for _, of_scale in group_by_scale(records.separation) for table in signal_tables(of_scale)),
    ]
    for table in tables:
        print(to_markdown(table))
    counts = (
        f"{len(records.runs)} runs, {len(records.reward_probes)} reward probes, {len(records.sanity)} sanity checks, "
        f"{len(records.separation)} separations"
    )
    print(f"{counts}: {', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m analysis [RECORDS_DIR ...] [--out DIR]`: tables, figures and the report, from records alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.cells import cells_of
from analysis.load import load_all
from analysis.methods import SCALES, in_order
from analysis.render import to_markdown
from analysis.report import judges_of, of_judge, write
from analysis.stress import stress_table
from analysis.tables import win_rate_table

REFERENCE = Path("results/reference")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 where there is nothing to read."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("records", nargs="*", type=Path, metavar="RECORDS_DIR", help=f"default: {REFERENCE}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: analysis/ in the first RECORDS_DIR")
    options = parser.parse_args(arguments)
    directories = options.records or [REFERENCE]
    out = options.out or directories[0] / "analysis"
    try:
        records, stress = load_all(directories)
    except (FileNotFoundError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    cells = cells_of(records)
    report = write(records, cells, out, stress)
    for scale in in_order((cell.scale for cell in cells), SCALES):
        own = [cell for cell in cells if cell.scale == scale]
        for judge in judges_of(own):
            print(to_markdown(win_rate_table(of_judge(own, judge))))
    for record in stress:
        print(to_markdown(stress_table(record)))
    print(f"{len(records)} runs, {len(stress)} stress tables: {out / 'tables'}, {out / 'figures'}, {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

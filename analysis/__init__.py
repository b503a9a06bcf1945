"""Tables, figures and the HTML report, computed from run records alone, without models or torch.

`frames(load_all(folder))` has the runs, pairs, verdicts and histories of records as pandas frames (docs/frames.md).
`summarize(records, checked)` returns one line per cell, given the sanity checks of the judges from
`check_judges(records)`; `build(record_dirs, out)` writes everything. Layers: records, stats, tables, figures, sections,
experiments, claims, report.
"""

from analysis.records.frames import frames
from analysis.records.read import load_all
from analysis.report.build import build
from analysis.tables.findings import summarize
from analysis.tables.judging.judges import check_judges

__all__ = ["build", "check_judges", "frames", "load_all", "summarize"]

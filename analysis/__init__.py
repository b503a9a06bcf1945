"""Tables, figures and the HTML report, computed from run records alone, without models or torch.

`summarize(records, checked)` returns one line per cell, given the sanity checks of the judges from
`check_judges(records)`; `build(record_dirs, out)` writes everything. Layers: records, stats, tables, figures, sections,
experiments, claims, report.
"""

from analysis.report.build import build
from analysis.tables.findings import summarize
from analysis.tables.sanity import check_judges

__all__ = ["build", "check_judges", "summarize"]

"""Tables, figures and the HTML report, computed from run records alone, without models or torch.

`summarize(records)` returns one line per cell; `build(record_dirs, out)` writes everything. Layers: records, stats,
tables, figures, sections, experiments, claims, report.
"""

from analysis.report.build import build
from analysis.tables.findings import summarize

__all__ = ["build", "summarize"]

"""Tables, figures and the HTML report, computed from run records alone; no model and no torch.

`summarize(records)` gives one line a cell; `build(record_dirs, out)` writes everything. Layers, each of
them functions of the one before: load -> metrics -> cells -> tables and figures -> report.
"""

from analysis.report.build import build
from analysis.tables.win_rates import summarize

__all__ = ["build", "summarize"]

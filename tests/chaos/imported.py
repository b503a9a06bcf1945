"""What every small run imports; nothing is computed here."""

# ruff: noqa: F401
import matplotlib.pyplot

import analysis.report
import cme.offline
import cme.training
import experiments.stages

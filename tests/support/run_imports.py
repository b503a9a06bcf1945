"""Everything that a small run imports; nothing is computed here."""

# ruff: noqa: F401
import matplotlib.pyplot

import analysis.report.build
import cme.training.dpo_sft
import cme.training.grpo
import experiments.run.pipeline

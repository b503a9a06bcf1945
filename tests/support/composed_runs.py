"""Runs composed once per session: a composition takes 0.2 s, and most tests only look at one."""

import functools

from experiments.config import composition
from experiments.config.runs import Run


@functools.cache
def compose(*overrides: str) -> Run:
    """The one run of a command line. Do not change it: other tests get the same object."""
    [run] = composition.compose_cells(list(overrides))
    return run

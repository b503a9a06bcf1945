"""Intervals, tests and metrics: pure functions of arrays."""

"""Judges decide which of two responses is better: the base classes, the judges, and pairwise judging."""

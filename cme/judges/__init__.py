"""Judges decide which of two responses is better: the base class, one file per judge, and pairwise judging."""

"""Judges: their checks, their agreement, and win rates controlled for their possible biases."""

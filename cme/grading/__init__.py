"""Extraction and equivalence of answers."""

"""Benchmarks: what the hot operation costs, beside other ways to do the same."""

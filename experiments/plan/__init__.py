"""Estimates before anything runs: steps, tokens, memory, judge calls and money."""

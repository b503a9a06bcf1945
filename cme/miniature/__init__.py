"""A small world with a known truth, and small language models of real architectures that are trained on it."""

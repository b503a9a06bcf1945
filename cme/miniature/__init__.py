"""A small world with a known truth, and small language models of true architectures that live in it."""

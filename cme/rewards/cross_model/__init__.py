"""Rewards that a separate model, the verifier, computes: Cross-Model Entropy and what is made of it."""

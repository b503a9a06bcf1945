"""Measurements besides the win rate: capabilities and the reward probe."""

"""GRPO and the other trainers, with their monitors and checkpoints."""

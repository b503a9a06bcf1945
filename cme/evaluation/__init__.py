"""What is measured beside the win rate: capabilities, and the reward probe."""

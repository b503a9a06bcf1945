"""Label-free reinforcement learning of language models: rewards, training, judging, records."""

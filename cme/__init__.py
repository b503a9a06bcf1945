"""Label-free reinforcement learning of language models: rewards, training, judging, records."""


class Unavailable(Exception):
    """Weights or data that a run needs cannot be had here; the message says which, why and what to do."""


class TrainingFailed(Exception):
    """Training cannot go on and has no policy worth keeping; the message says why."""

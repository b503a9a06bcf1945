"""Label-free reinforcement learning of language models: rewards, training, judging, records."""


class Unavailable(Exception):
    """What a run needs cannot be had here; the message says which, why and what to do, a line for each thing."""


class TrainingFailed(Exception):
    """Training cannot go on and has no policy worth keeping; the message says why."""

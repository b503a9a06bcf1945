"""Label-free reinforcement learning of language models: rewards, training, judging, records."""

import logging

__version__ = "0.2.0"

# it asks for a package of kernels whenever it is imported, whether or not anything is rounded to 8 bits
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


class Unavailable(Exception):
    """What a run needs cannot be had here; the message says which, why and what to do, a line for each thing.

    `calls` and `usd` are what a judge that gives up had spent on its last ruling (None where prices are unknown).
    """

    calls: int = 0
    usd: float | None = 0.0


class TrainingFailed(Exception):
    """Training cannot go on and has no policy worth keeping; the message says why."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop, and what was done is saved: the same command goes on from there."""

"""Label-free reinforcement learning of language models: rewards, training, judging, records."""

import logging

__version__ = "0.2.0"

# on import it asks for a package of kernels, whether or not a model is rounded to 8 bits
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


class Unavailable(Exception):
    """Something that a run needs is unavailable; the message has one line for each, with reason and remedy.

    Attributes:
        calls: Calls that a judge which gives up has spent on its last verdict.
        usd: Their price in US dollars; None where prices are unknown.
    """

    calls: int = 0
    usd: float | None = 0.0


class TrainingFailed(Exception):
    """Training cannot continue and has no policy worth keeping; the message says why."""


class Interrupted(KeyboardInterrupt):
    """A signal has stopped the run, which is saved; repeating the command continues it."""

"""Label-free reinforcement learning of language models: rewards, training, judging, records."""

import logging

__version__ = "0.2.0"

# on import it recommends a package of kernels, even if no model is quantized
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


class Unavailable(Exception):
    """Something that a run needs is unavailable; the message has one line for each, with reason and remedy.

    Attributes:
        calls: Calls that a judge has made for its last verdict before it gave up.
        usd: Their cost in US dollars; None if prices are unknown.
    """

    calls: int = 0
    usd: float | None = 0.0


class TrainingFailed(Exception):
    """Training cannot continue and has no policy worth keeping; the message says why."""


class Interrupted(KeyboardInterrupt):
    """A signal has stopped the run, which is saved; the same command continues it."""

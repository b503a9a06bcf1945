"""A plugin of pytest for public test suites: our parts in place of theirs, and a skip for what needs the hub.

`CME_PARTS=trl` puts our trainer in the place of `trl.GRPOTrainer`; `alpaca_eval` makes our annotator, which changes
alpaca-eval's progress bars and logging; `none` puts nothing in its place. With any, TRL's trainings end after STEPS
steps where a test does not say how many.
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import partialmethod
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

OFFLINE = re.compile(
    r"offline|couldn't connect|Couldn't reach|LocalEntryNotFound|Cannot send a request|not a valid model identifier|"
    r"Connection error|doesn't exist on the Hub|Name or service not known|Failed to resolve|Max retries exceeded|"
    r"cannot find the requested files in the local cache",
    re.IGNORECASE,
)
"""What the libraries say where the hub does not answer."""


STEPS = 3


def pytest_configure() -> None:
    """Put our parts in their places, before the tests import theirs."""
    import trl

    parts = os.environ["CME_PARTS"]
    # the tests may be of another version than the package, which drops such functions now and then
    vars(import_module("trl.import_utils"))["__getattr__"] = _availability
    trl.GRPOConfig.__init__ = partialmethod(trl.GRPOConfig.__init__, max_steps=STEPS)
    if parts == "trl":
        from cme.training.history import StepClock
        from cme.training.trl_internals import PromptTrainer

        class OurTrainer(PromptTrainer):
            """Our trainer, made as TRL's is."""

            def __init__(self, *args: Any, **settings: Any) -> None:
                names = ("model", "reward_funcs", "args", "train_dataset")
                super().__init__(StepClock(), **dict(zip(names, args, strict=False)), **settings)

        trl.GRPOTrainer = OurTrainer
    if parts == "alpaca_eval":
        from cme.judges.alpaca_annotator import AlpacaEvalAnnotator

        AlpacaEvalAnnotator("weighted_alpaca_eval_gpt4_turbo", 1)


def _availability(name: str) -> Callable[[], bool]:
    """A function such as `is_joblib_available`, by its name."""
    found = re.fullmatch(r"is_(\w+)_available", name)
    if found is None:
        raise AttributeError(name)
    return lambda: find_spec(found[1]) is not None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    """Turn the failure of a test that did not get something from the hub into a skip."""
    outcome: Any = yield
    report = outcome.get_result()
    error: BaseException | None = call.excinfo.value if call.excinfo is not None else None
    while report.failed and error is not None:
        if OFFLINE.search(f"{type(error).__name__}: {error}"):
            report.outcome = "skipped"
            report.longrepr = (
                str(item.path),
                item.location[1] or 0,
                f"Skipped: needs the hub: {_name(str(error))}",
            )
        error = error.__cause__ or error.__context__


def _name(message: str) -> str:
    """The name on the hub in a message, or else the message's first line."""
    found = re.search(r"[\w.-]+/[\w.-]+(?=['\" ,]|$)", message)
    return found[0] if found else message.splitlines()[0][:80]

"""Rewards whose verifiers are the random-weight models of the families."""

from collections.abc import Callable
from typing import Any

import pytest
from verifiers import Folder, Tiny

from cme.rewards import CrossModelEntropy
from cme.scoring.policy import UntrainedPolicy

Make = Callable[..., CrossModelEntropy]


@pytest.fixture
def make(tiny_folder: Folder) -> Callable[..., CrossModelEntropy]:
    """A reward whose verifier is of the named family, or of several."""

    def reward(verifier: str | list[str], **settings: Any) -> CrossModelEntropy:
        names = [verifier] if isinstance(verifier, str) else verifier
        places = [str(tiny_folder(name)) for name in names]
        return CrossModelEntropy(places[0] if isinstance(verifier, str) else places, **settings)

    return reward


@pytest.fixture
def dense(make: Make, tiny: Tiny) -> Callable[..., CrossModelEntropy]:
    """A reward with values per token, bound to an untrained policy of a family."""

    def reward(policy: str, verifier: str | list[str], **settings: Any) -> CrossModelEntropy:
        bound = make(verifier, granularity="token", **settings)
        bound.bind(UntrainedPolicy(tiny(policy).tokenizer, tiny(policy).model))
        return bound

    return reward

"""The server of a judge that prefers the longer response."""

from collections.abc import Iterator

import pytest
from chat_stub import ChatStub, serving
from length_judge import KEY

from experiments.run import judging


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatStub]:
    """The running server, which no judge of this process has tried; its key is in JUDGE_KEY."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr(judging, "_probed_judges", set())
    with serving(ChatStub()) as running:
        running.key = KEY
        yield running

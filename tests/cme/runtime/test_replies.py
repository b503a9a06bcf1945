"""Replies of servers are read up to a size, after decompression, and up to a time."""

import gzip
import time
from collections.abc import Iterator

import httpx2
import pytest

from cme.runtime import replies


def streamed(chunks: Iterator[bytes], **headers: str) -> httpx2.Response:
    request = httpx2.Request("POST", "http://127.0.0.1/")
    return httpx2.Response(200, headers=headers, content=chunks, request=request)


def test_a_compressed_reply_is_read_once() -> None:
    body = gzip.compress(b'{"a": 1}')
    read = replies.read_reply(streamed(iter([body]), **{"content-encoding": "gzip"}), time.monotonic() + 9)
    assert (read.status_code, read.json()) == (200, {"a": 1})


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_reply_above_the_limit_is_not_kept(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(replies, "MAX_BYTES", 2**20)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        piece = b"x" * 2**19 if encoding == "identity" else gzip.compress(b"x" * 2**22)
        while True:
            sent += 1
            yield piece

    with pytest.raises(httpx2.DecodingError, match="larger than 1 MiB"):
        replies.read_reply(streamed(endless(), **{"content-encoding": encoding}), time.monotonic() + 60)
    assert sent <= 3


def test_a_reply_that_does_not_end_is_given_up_at_the_deadline() -> None:
    def slow() -> Iterator[bytes]:
        while True:
            yield b"x"
            time.sleep(0.01)

    with pytest.raises(httpx2.ReadTimeout):
        replies.read_reply(streamed(slow()), time.monotonic() + 0.05)

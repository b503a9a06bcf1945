"""Replies of HTTP servers, read within a limit of time and one of size."""

import time

import httpx2

MAX_BYTES = 64 * 2**20
"""Largest size of a reply; the log-probabilities of 100,000 tokens take 10 MB."""


def read_reply(response: httpx2.Response, deadline: float) -> httpx2.Response:
    """The whole reply of a streamed response. httpx2 limits the time between two bytes, and no size.

    Args:
        deadline: the value of `time.monotonic()` at which the reply must be complete.

    Raises ReadTimeout after the deadline, and DecodingError for a reply above MAX_BYTES, counted after decompression.
    """
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise httpx2.DecodingError(f"the reply is larger than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("the server was still sending when the time limit ended")
    headers = {k: v for k, v in response.headers.items() if k not in ("content-encoding", "content-length")}
    return httpx2.Response(
        response.status_code, headers=headers, content=bytes(body), request=response.request
    )

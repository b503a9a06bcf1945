"""An HTTP server on loopback that notes what it is sent: the base of the stubs of real services."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class StubServer(ThreadingHTTPServer):
    """Takes `seconds` to answer a POST; `released` ends every wait.

    `bodies` and `keys` hold the JSON and the Authorization header of each POST, `most_in_flight` the largest number
    of POSTs that were being answered at the same time.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler: type["StubHandler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.seconds = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a client that has closed its connection."""


class StubHandler(BaseHTTPRequestHandler):
    """Calls `answer` with each POST's JSON, and then what `answer` returned: that sends the reply."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        """Send a reply whose header announces `length` bytes (default: as many as there are)."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        stub: StubServer = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            stub.bodies.append(body)
            stub.keys.add(self.headers.get("Authorization"))
            stub.in_flight += 1
            stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
        try:
            deliver = self.answer(body)
        finally:
            with stub.lock:
                stub.in_flight -= 1
        deliver()

    def do_GET(self) -> None:
        self.get()

    def do_HEAD(self) -> None:
        self.get()

    def answer(self, body: dict[str, Any]) -> Any:
        raise NotImplementedError

    def get(self) -> None:
        """Answer a GET or a HEAD."""
        raise NotImplementedError


Server = TypeVar("Server", bound=StubServer)


@contextmanager
def serving(stub: Server) -> Iterator[Server]:
    """Run the server in a thread."""
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.released.set()
        stub.shutdown()
        stub.server_close()
        thread.join()

"""A headless Chromium driven over pipes by the DevTools protocol: real keys, real layout, no network library."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

BINARY = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)
KEYS = {"Escape": 27, "Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36}


class Page:
    """One tab. `requests` has the addresses that it requested, `errors` its messages of errors."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.to_browser, self.from_browser = to_browser, from_browser
        self.buffer, self.number, self.session = b"", 0, None
        self.requests: list[str] = []
        self.errors: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.note(answer)

    def receive(self, seconds: float = 60) -> dict[str, Any]:
        """The next message of the browser."""
        while b"\0" not in self.buffer:
            ready, _, _ = select([self.from_browser], [], [], seconds)
            assert ready, "the browser is silent"
            self.buffer += os.read(self.from_browser, 1 << 20)
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def note(self, event: dict[str, Any]) -> None:
        """Note the requests and the errors among the events."""
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.errors.append(parameters["entry"]["text"])

    def open(self, path: Path, address: str = "") -> None:
        """Load a report anew and wait until its browser of pairs is there."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"{path.resolve().as_uri()}{address}")
        self.wait("document.documentElement?.dataset.ready !== undefined")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Wait until a condition holds in the page."""
        end = monotonic() + seconds
        while not self.run(condition):
            assert monotonic() < end, f"{condition} did not come true; {self.errors}"

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            text = {} if key in KEYS else {"text": key}
            code = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Show the page at a size in CSS pixels, light or dark."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with one tab, which ends with the context."""
    assert BINARY
    page_in, to_browser = pipe()
    from_browser, page_out = pipe()

    def connect() -> None:  # the browser reads its commands from descriptor 3 and answers on 4
        os.dup2(page_in, 3)
        os.dup2(page_out, 4)

    process = subprocess.Popen(
        [BINARY, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=connect,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(page_in)
    os.close(page_out)
    try:
        yield Page(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(20)
        os.close(to_browser)
        os.close(from_browser)


def pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the lowest descriptors."""
    ends = os.pipe()
    read, write = (fcntl(end, F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write

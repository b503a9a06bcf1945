"""Mathematical equivalence of two answers by math-verify, in a separate process with a hard time limit.

Models write the answers: one such as 9^{9^{9^9}} keeps sympy busy forever or fills the memory. So answers are parsed
and compared in a worker process that stays alive between comparisons, has bounded memory and sees no environment
variables. If the worker does not answer in time, or dies, that comparison is undecided, and the worker is killed and
restarted for the next one. This file is both sides: run as a script, it is the worker.
"""

import atexit
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from functools import lru_cache
from typing import Any

SECONDS = 3.0
"""Time limit of one comparison, wall-clock; a typical one takes milliseconds."""
STARTING_SECONDS = 120.0
MEMORY_BYTES = 1 << 30
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Grader:
    """The worker process. It starts with the first comparison and may be used by several threads."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, *answers: str) -> bool | None:
        """Whether one answer parses as mathematics, or whether the second of two is equivalent to the first.

        None if that is undecided. Raises RuntimeError if the worker cannot start.
        """
        with self._lock:
            if self._worker is None:
                self._worker = self._start()
            try:
                answer = self._receive(self._worker, answers, self.seconds)
            except OSError:  # the worker died before it had read the question
                answer = None
            if answer is None:
                self._stop()
                return None
            return None if answer == "undecided" else bool(answer)

    def close(self) -> None:
        """Stop the worker, if there is one."""
        with self._lock:
            self._stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        worker = subprocess.Popen(
            [sys.executable, "-P", __file__],  # -P: no module of this folder hides the standard library's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PYTHONHASHSEED": "0"},
        )
        if self._receive(worker, (), STARTING_SECONDS) != "ready":
            worker.kill()
            raise RuntimeError(
                "answers cannot be compared: the math-verify worker did not start; "
                "install its package: pip install 'math-verify[antlr4_9_3]'"
            )
        return worker

    @staticmethod
    def _receive(worker: "subprocess.Popen[bytes]", answers: tuple[str, ...], seconds: float) -> Any:
        """What the worker says, of `answers` if there are any; None if it says nothing in time or is dead."""
        assert worker.stdin is not None and worker.stdout is not None
        if answers:
            worker.stdin.write(json.dumps(answers).encode() + b"\n")
        if not select.select([worker.stdout], [], [], seconds)[0]:
            return None
        line = worker.stdout.readline()  # short, and written in one piece
        return json.loads(line) if line else None

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None


_grader = Grader()


@lru_cache(maxsize=1 << 16)
def are_equivalent(gold: str, given: str) -> bool | None:
    """Whether `given` is equivalent to `gold`, as `Grader.ask`. Each comparison is made once, undecided ones too."""
    return _grader.ask(gold, given)


@lru_cache(maxsize=1 << 16)
def parses(answer: str) -> bool | None:
    """Whether an answer parses, as `Grader.ask`. A plain number needs no worker."""
    return bool(_PLAIN_NUMBER.fullmatch(answer)) or _grader.ask(answer)


def _end_with_parent() -> None:
    """Wait for the end of the parent, also during a comparison that would never end, and end this process."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work() -> None:
    """Answer questions, one JSON line each, until the input or the parent ends."""
    import logging
    import resource

    threading.Thread(target=_end_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds = (LatexExtractionConfig(), ExprExtractionConfig())

    def grade(*texts: str) -> bool | str:
        """Whether one answer parses, or whether two are equivalent."""
        # the parent keeps the time: math-verify's own timeouts are signals, which a long multiplication ignores
        try:
            parsed = [parse(f"${text}$", kinds, parsing_timeout=None, raise_on_error=True) for text in texts]
            if len(texts) == 1:  # what does not parse is returned as text alone, or not at all
                return any(not isinstance(value, str) for value in parsed[0])
            return bool(verify(*parsed, timeout_seconds=None, raise_on_error=True))
        except (MemoryError, RecursionError, OverflowError):
            return "undecided"
        except Exception:  # noqa: BLE001 - math-verify's rule: what sympy cannot compare is not equivalent
            return False

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(grade(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _work()

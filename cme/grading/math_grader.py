"""Mathematical equivalence of two answers by math-verify, in a process of its own under a hard timeout.

Answers are written by models: one such as 9^{9^{9^9}} keeps sympy busy for ever or fills the memory. So they are
parsed and compared in a worker process that is kept alive, has a bound on its memory and none of the environment's
secrets; one that does not answer in time, or dies, is killed and started again for the next comparison, and that
comparison is undecided. This file is both sides: run as a script it is the worker.
"""

import atexit
import json
import select
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

SECONDS = 3.0
"""Limit of one comparison, wall-clock; a usual one takes milliseconds."""
STARTING_SECONDS = 120.0
MEMORY_BYTES = 1 << 30


class Grader:
    """The worker process; it starts with the first comparison. Safe for use by several threads."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def equivalent(self, gold: str, given: str) -> bool | None:
        """Whether `given` is mathematically the same as `gold`; None where that is undecided.

        Raises RuntimeError where the worker cannot start.
        """
        with self._lock:
            if self._worker is None:
                self._worker = self._started()
            try:
                found = self._asked(self._worker, [gold, given], self.seconds)
            except OSError:  # it died before it had read the question
                found = None
            if found is None:
                self._stop()
                return None
            return None if found == "undecided" else bool(found)

    def close(self) -> None:
        """End the worker, if there is one."""
        with self._lock:
            self._stop()

    def _started(self) -> "subprocess.Popen[bytes]":
        # -P: modules of this folder must not stand in the way of the standard library's
        worker = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PYTHONHASHSEED": "0"},
        )
        if self._asked(worker, None, STARTING_SECONDS) != "ready":
            worker.kill()
            raise RuntimeError(
                "answers cannot be compared: math-verify did not start in a process of its own; is it installed "
                "(`make install`)?"
            )
        return worker

    @staticmethod
    def _asked(worker: "subprocess.Popen[bytes]", question: list[str] | None, seconds: float) -> Any:
        """The worker's answer to a question; None where it has not answered in time or is dead."""
        assert worker.stdin is not None and worker.stdout is not None
        if question is not None:
            worker.stdin.write(json.dumps(question).encode() + b"\n")
        if not select.select([worker.stdout], [], [], seconds)[0]:
            return None
        line = worker.stdout.readline()  # short, and written whole
        return json.loads(line) if line else None

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None


_grader = Grader()


@lru_cache(maxsize=1 << 16)
def are_equivalent(gold: str, given: str) -> bool | None:
    """As `Grader.equivalent`, by one worker for all, each comparison once: an undecided one stays so."""
    return _grader.equivalent(gold, given)


def _work() -> None:
    """Answer questions, a JSON line each, until there are no more."""
    import logging
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds = (LatexExtractionConfig(), ExprExtractionConfig())

    def same(gold: str, given: str) -> bool | str:
        # Whoever asks keeps the time: math-verify's own timeouts are signals, which a long multiplication ignores.
        try:
            read = [
                parse(f"${text}$", kinds, parsing_timeout=None, raise_on_error=True) for text in (gold, given)
            ]
            return bool(verify(*read, timeout_seconds=None, raise_on_error=True))
        except (MemoryError, RecursionError, OverflowError):
            return "undecided"
        except Exception:  # noqa: BLE001 - by math-verify's own rule, what sympy cannot compare is not the same
            return False

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(same(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _work()

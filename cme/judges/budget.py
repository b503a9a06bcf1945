"""A limit on a judge's calls and US dollars."""

import threading


class Budget:
    """Reserves the most that a call can cost before the call is made. Threads may share it.

    Args:
        max_calls: limit on the number of calls; None for no limit.
        max_usd: limit on US dollars; None for no limit.

    Attributes:
        calls, usd: the spending so far.
    """

    def __init__(self, max_calls: int | None, max_usd: float | None) -> None:
        self.max_calls = max_calls
        self.max_usd = max_usd
        self.calls = 0
        self.usd = 0.0
        self._reserved: list[float] = []
        self._settled = threading.Condition()

    def reserve(self, usd: float) -> bool:
        """Reserve one call that costs at most `usd`; return False if the budget does not allow it.

        Waits as long as calls in flight may cost less than reserved, so that this one would fit.
        """
        with self._settled:
            while True:
                if self._calls_spent():
                    return False
                if self.max_usd is None or self.usd + sum(self._reserved) + usd <= self.max_usd:
                    break
                if not self._reserved:
                    return False
                self._settled.wait()
            self.calls += 1
            self._reserved.append(usd)
            return True

    def settle(self, reserved: float, usd: float) -> None:
        """Record that a call reserved at `reserved` has cost `usd`."""
        with self._settled:
            self._reserved.remove(reserved)
            self.usd += usd
            self._settled.notify_all()

    def __str__(self) -> str:
        if self._calls_spent():
            return f"{self.max_calls} calls (max_calls)"
        return f"{self.max_usd} USD (max_usd)"

    def _calls_spent(self) -> bool:
        return self.max_calls is not None and self.calls >= self.max_calls

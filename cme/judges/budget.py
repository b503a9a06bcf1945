"""How many calls and how much money a judge may take."""

import threading


class Budget:
    """What may be spent; the most that a call can cost is set aside before the call is made.

    `calls` and `usd` are what was spent so far. None as a limit is no limit.
    """

    def __init__(self, max_calls: int | None, max_usd: float | None) -> None:
        self.max_calls = max_calls
        self.max_usd = max_usd
        self.calls = 0
        self.usd = 0.0
        self._in_flight: list[float] = []
        self._settled = threading.Condition()

    def take(self, most: float) -> bool:
        """Set one call aside that costs at most so much; False where it does not fit.

        Waits while calls in flight, once they have cost less than they could, may yet make room.
        """
        with self._settled:
            while not self._fits(most):
                if not self._in_flight or self._calls_spent():
                    return False
                self._settled.wait()
            self.calls += 1
            self._in_flight.append(most)
            return True

    def settle(self, most: float, usd: float) -> None:
        """A call that was taken as `most` has cost `usd`."""
        with self._settled:
            self._in_flight.remove(most)
            self.usd += usd
            self._settled.notify_all()

    def __str__(self) -> str:
        if self._calls_spent():
            return f"{self.max_calls} calls (max_calls)"
        return f"{self.max_usd} USD (max_usd)"

    def _calls_spent(self) -> bool:
        return self.max_calls is not None and self.calls >= self.max_calls

    def _fits(self, most: float) -> bool:
        if self._calls_spent():
            return False
        return self.max_usd is None or self.usd + sum(self._in_flight) + most <= self.max_usd

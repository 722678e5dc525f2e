"""Retry-after times: how long each refused client is told to wait before it tries again.

If all were told the same time, they would all come back at that moment, again and again, and refusing
them would cost the running streams more than serving them does. So each gets a time of its own.
"""

import time
from collections.abc import Callable

MIN_WAIT = 1.0
"""Seconds that the first refused client waits: about what it takes some streams to finish."""
SPACING = 0.05
"""Seconds between the times of two clients refused one after the other."""
MAX_WAIT = 30.0
"""The longest wait in seconds; beyond it the times start again at MIN_WAIT."""


class RetryAfter:
    """Spreads the retries of refused clients over time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = -MAX_WAIT

    def next(self) -> float:
        """Returns the seconds that the next refused client should wait."""
        now = self._clock()
        self._last = max(self._last + SPACING, now + MIN_WAIT)
        if self._last > now + MAX_WAIT:
            self._last = now + MIN_WAIT
        return self._last - now

"""Appointments: when those who are refused may ask again.

Were all of them told the same, they would come back all at once, again and again, and refusing them
would cost the streams that run more than serving does. It knows neither streams nor requests.
"""

import time
from collections.abc import Callable

SOONEST = 1.0
"""Seconds until the first of them: about what it takes some streams to finish."""
APART = 0.05
"""Seconds between one and the next."""
LATEST = 30.0
"""The longest wait, in seconds; beyond it the moments begin again from the soonest."""


class Appointments:
    """Gives one moment after another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = -LATEST

    def wait(self) -> float:
        """Seconds that the next one who is refused should wait."""
        now = self._clock()
        self._last = max(self._last + APART, now + SOONEST)
        if self._last > now + LATEST:
            self._last = now + SOONEST
        return self._last - now

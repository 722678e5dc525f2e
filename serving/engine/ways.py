"""Ways to run a burst that give the same bits: the fastest for each size, found by trying.

Which is fastest depends on the caches of the processor and on what else runs beside the bursts, so it
is measured as they run, and now and then again. It knows sizes and seconds, and not what a way is.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from statistics import median

TRIES = 5
"""Bursts in each way before one is preferred; of later ones, the newest that count."""
AGAIN = 32
"""Bursts until another way is tried again, which may have become faster; doubled while none has ..."""
SELDOM = 1024
"""... up to this."""
FASTER = 0.9
"""A later way is taken for an earlier one only if it needs at most this share of its time."""


class Ways:
    """Picks among several ways, by batch size in powers of two; of about equal ones the first."""

    def __init__(self) -> None:
        self._trials: defaultdict[int, Trial] = defaultdict(Trial)

    def pick(self, rows: int, usable: Sequence[int]) -> int:
        """The way, among those usable, of the next burst of so many rows."""
        return usable[0] if len(usable) == 1 else self._trials[rows.bit_length()].pick(usable)

    def learn(self, way: int, rows: int, steps: int, seconds: float) -> None:
        """Takes in a burst that ran."""
        self._trials[rows.bit_length()].seconds[way].append(seconds / steps / rows)


class Trial:
    """What is known of the ways for one size."""

    def __init__(self) -> None:
        self.seconds: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=TRIES))
        """What a token took in the newest bursts of each way."""
        self._picked: Counter[int] = Counter()
        self._best = 0
        self._pause = self._left = AGAIN

    def pick(self, usable: Sequence[int]) -> int:
        """The best way, unless it is another one's turn to be tried."""
        way = self._next(usable)
        self._picked[way] += 1
        return way

    def _next(self, usable: Sequence[int]) -> int:
        for way in usable:
            if self._picked[way] < TRIES:
                return way
        best = self._fastest(usable)
        if best != self._best:
            self._best = best
            self._pause = self._left = AGAIN
        others = [way for way in usable if way != best]
        for way in others:
            if self._promises(way, best):
                return way
        self._left -= 1
        if self._left > 0:
            return best
        self._pause = self._left = min(2 * self._pause, SELDOM)
        return min(others, key=self._picked.__getitem__)

    def _fastest(self, usable: Sequence[int]) -> int:
        best, *others = usable
        for way in others:
            if self._typical(way) <= FASTER * self._typical(best):
                best = way
        return best

    def _promises(self, way: int, best: int) -> bool:
        """Whether a way was faster at its last try, so that one more would tell."""
        seconds = self.seconds[way]
        return bool(seconds) and seconds[-1] <= FASTER * self._typical(best)

    def _typical(self, way: int) -> float:
        """Infinite for a way that always failed."""
        return median(self.seconds[way] or [float("inf")])

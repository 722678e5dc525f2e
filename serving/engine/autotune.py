"""Autotuning: finds the fastest of several execution strategies by timing the bursts that run.

All strategies give the same bits, so any may run. Which is fastest depends on the processor's caches and
on other programs, so it is measured in production, per batch size, and measured again from time to time.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from statistics import median

SAMPLES = 5
"""Bursts of each strategy before one is preferred; of later ones, the newest that count."""
RETRY = 32
"""Bursts until a slower strategy is measured again; doubled each time it stays slower ..."""
MAX_RETRY = 1024
"""... up to this."""
MARGIN = 0.9
"""A later strategy replaces an earlier one only if it takes at most this share of its time."""


class Autotuner:
    """Picks a strategy by its index, per batch size in powers of two; of about equal ones the first."""

    def __init__(self) -> None:
        self._timings: defaultdict[int, Timings] = defaultdict(Timings)

    def pick(self, rows: int, usable: Sequence[int]) -> int:
        """Returns the strategy, one of those usable, for the next burst of so many rows."""
        return usable[0] if len(usable) == 1 else self._timings[rows.bit_length()].pick(usable)

    def record(self, strategy: int, rows: int, steps: int, seconds: float) -> None:
        """Records the duration of a burst."""
        self._timings[rows.bit_length()].seconds[strategy].append(seconds / steps / rows)


class Timings:
    """The measured times of the strategies at one batch size."""

    def __init__(self) -> None:
        self.seconds: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        """Seconds a token in the newest bursts of each strategy."""
        self._picked: Counter[int] = Counter()
        self._best = 0
        self._interval = self._left = RETRY

    def pick(self, usable: Sequence[int]) -> int:
        """Returns the fastest strategy, or another one that is due to be measured."""
        strategy = self._next(usable)
        self._picked[strategy] += 1
        return strategy

    def _next(self, usable: Sequence[int]) -> int:
        for strategy in usable:
            if self._picked[strategy] < SAMPLES:
                return strategy
        best = self._fastest(usable)
        if best != self._best:
            self._best = best
            self._interval = self._left = RETRY
        others = [strategy for strategy in usable if strategy != best]
        for strategy in others:
            if self._may_be_faster(strategy, best):
                return strategy
        self._left -= 1
        if self._left > 0:
            return best
        self._interval = self._left = min(2 * self._interval, MAX_RETRY)
        return min(others, key=self._picked.__getitem__)

    def _fastest(self, usable: Sequence[int]) -> int:
        best, *others = usable
        for strategy in others:
            if self._typical(strategy) <= MARGIN * self._typical(best):
                best = strategy
        return best

    def _may_be_faster(self, strategy: int, best: int) -> bool:
        """Returns whether a strategy was faster when last measured, so that it is measured once more."""
        seconds = self.seconds[strategy]
        return bool(seconds) and seconds[-1] <= MARGIN * self._typical(best)

    def _typical(self, strategy: int) -> float:
        """Returns the median time; infinite for a strategy whose bursts all failed."""
        return median(self.seconds[strategy] or [float("inf")])

"""The length of bursts: as many steps as deliver the most tokens a second, by what attempts turned out long.

A plain burst cannot end a row early, so the steps after the end of a record are lost; a burst of few
steps pays more for being begun. The expected number of tokens that K steps deliver comes from the lengths
of finished attempts (their survival function, as in survival analysis, each row at its own age), and what
a burst costs from bursts of two lengths that are timed.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CANDIDATES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
"""Lengths of a burst."""
PROBES = (2, 16)
"""Lengths that are timed, ..."""
SAMPLES = 7
"""... each so often, before a length is chosen."""
STEADY = 8
"""Bursts of one length, once that is chosen."""
OLDEST = 4096
"""Ages that are told apart; attempts that are older end as often as those of this age."""
PRIOR = 4.0
"""Attempts' worth of trust in one rate of ending for all ages."""
GROWTH = 1.1
"""How many times as many attempts must have ended until lengths are looked at anew."""

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


class BurstLength:
    """Chooses K for each burst. What it chooses changes no text."""

    def __init__(self) -> None:
        self._seconds: dict[int, list[float]] = {steps: [] for steps in PROBES}
        self._bursts = 0
        self._ended = np.zeros(OLDEST + 1)
        """Attempts that ended, by their tokens."""
        self._known = 0.0
        self._survival, self._delivered = survival(self._ended)
        self._chosen = max(PROBES)

    def record(self, steps: int, seconds: float) -> None:
        """Learns how long a burst took."""
        if steps in PROBES and len(self._seconds[steps]) < SAMPLES:
            self._seconds[steps].append(seconds)

    def ended(self, tokens: Counts) -> None:
        """Learns the tokens [N] of attempts that ended."""
        np.add.at(self._ended, tokens.clip(max=OLDEST), 1)

    def choose(self, ages: Counts, left: Counts) -> int:
        """Returns K for rows that have generated `ages` tokens [B] and may generate `left` more [B]."""
        longest = int(left.max())
        self._bursts += 1
        chosen = self._bursts - SAMPLES * len(PROBES)
        if chosen <= 0:
            return min(PROBES[self._bursts % len(PROBES)], longest)
        if chosen % STEADY == 1:
            self._chosen = self._best(ages, left, longest)
        return min(self._chosen, longest)

    def _best(self, ages: Counts, left: Counts, longest: int) -> int:
        """Returns the length that delivers the most tokens a second."""
        if (total := self._ended.sum()) > GROWTH * self._known:
            self._known = total
            self._survival, self._delivered = survival(self._ended)
        candidates = np.array([steps for steps in CANDIDATES if steps < longest] + [min(longest, 256)])
        age = ages.clip(max=OLDEST)[:, None]  # [B, 1]
        steps = np.minimum(candidates, left[:, None])  # [B, candidates]
        delivered = (self._delivered[age + steps] - self._delivered[age]) / self._survival[age]
        fixed, each = self._cost()
        rates = delivered.sum(0) / (fixed + each * candidates)
        return int(candidates[np.argmax(rates)])

    def _cost(self) -> tuple[float, float]:
        """Returns the seconds of a burst and of each of its steps.

        By the fastest of those timed: what another program does meanwhile only ever makes them slower.
        """
        few, many = PROBES
        if not (self._seconds[few] and self._seconds[many]):
            return 1.0, 1.0
        short, long = min(self._seconds[few]), min(self._seconds[many])
        each = max((long - short) / (many - few), 0.1 * long / many)
        return max(short - few * each, 0.0), each


def survival(ended: Sequence[float] | Numbers) -> tuple[Numbers, Numbers]:
    """Estimates which share of attempts goes on beyond each age (Kaplan and Meier 1958, with a prior).

    Args:
        ended: attempts that ended with so many tokens [A + 1].

    Returns:
        The share of attempts with more than a tokens [A + 1 + 256], and the expected tokens among the first
        a [A + 2 + 256].
    """
    counts = np.asarray(ended, np.float64)
    tokens = float(counts @ np.arange(len(counts)))
    overall = (counts.sum() + 1) / (tokens + 64)
    at_risk = counts[::-1].cumsum()[::-1]
    rates = (counts + PRIOR * overall) / (at_risk + PRIOR)
    rates = np.concatenate([rates, np.full(max(CANDIDATES), rates[-1])])
    left = np.maximum(np.cumprod(1 - rates.clip(max=1 - 1e-9)), 1e-200)
    return left, np.concatenate([[0.0], left.cumsum()])

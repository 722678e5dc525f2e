"""Slots: which of a runner's slots are in use, and what for."""

import heapq

import numpy as np


class Slots:
    """Allocates a slot to each of up to S running streams.

    A stream at slot s has a second one, s + S, for its state at an earlier token (its anchor). One more slot,
    2 * S, is for bursts that belong to no stream: replays and probes.
    """

    def __init__(self, streams: int) -> None:
        self.capacity = streams
        self.scratch = 2 * streams
        self._free = list(range(streams))
        self._taken = np.zeros(streams, np.bool_)

    @staticmethod
    def needed(streams: int) -> int:
        """Returns how many slots a runner must have for so many streams."""
        return 2 * streams + 1

    @property
    def used(self) -> int:
        """Number of streams that have a slot."""
        return self.capacity - len(self._free)

    def acquire(self) -> int | None:
        """Allocates the lowest free slot; None if all are in use."""
        if not self._free:
            return None
        slot = heapq.heappop(self._free)
        self._taken[slot] = True
        return slot

    def release(self, slot: int) -> None:
        """Frees a slot."""
        assert 0 <= slot < self.capacity, "a slot of a stream"
        assert self._taken[slot], "a slot is released once"
        self._taken[slot] = False
        heapq.heappush(self._free, slot)

    def anchor(self, slot: int) -> int:
        """Returns the second slot of a stream."""
        return self.capacity + slot

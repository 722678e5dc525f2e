"""The state pool: the recurrent state of every stream, one slot each.

A resource and no more: it knows neither streams nor graphs.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from charloom.burst import Feeds, StateSpec


class StatePool:
    """One row per slot in each state tensor, in the machine's main memory."""

    def __init__(self, specs: Sequence[StateSpec], capacity: int) -> None:
        self.specs = specs
        self.capacity = capacity
        # Zeros that nobody has touched take no memory, so slots that were never in use are free.
        self.tensors = {spec.name: np.zeros((capacity, *spec.shape), spec.dtype) for spec in specs}
        self._free = list(range(capacity))
        self._taken = np.zeros(capacity, np.bool_)

    @property
    def used(self) -> int:
        """Slots in use."""
        return self.capacity - len(self._free)

    def acquire(self) -> int | None:
        """Takes the lowest free slot, for a fresh stream; None if all are in use."""
        if not self._free:
            return None
        slot = heapq.heappop(self._free)
        self._taken[slot] = True
        for spec in self.specs:
            self.tensors[spec.name][slot] = spec.initial
        return slot

    def release(self, slot: int) -> None:
        """Gives a slot back."""
        assert 0 <= slot < self.capacity, "a slot of this pool"
        assert self._taken[slot], "a slot is given back once"
        self._taken[slot] = False
        heapq.heappush(self._free, slot)

    def gather(self, slots: Sequence[int]) -> Feeds:
        """The state of these slots as a burst takes it: copies, each [B, ...]."""
        rows = np.asarray(slots)
        return {name: tensor.take(rows, axis=0) for name, tensor in self.tensors.items()}

    def scatter(self, slots: Sequence[int], outputs: Feeds) -> None:
        """Keeps the state that a burst gave for these slots."""
        rows = np.asarray(slots)
        for spec in self.specs:
            self.tensors[spec.name][rows] = outputs[spec.output]

    def put(self, slot: int, state: Feeds) -> None:
        """Sets the state of a slot to what `gather` gave for another one."""
        for name, tensor in self.tensors.items():
            tensor[slot] = state[name][0]

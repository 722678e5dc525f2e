"""The state pool: the recurrent state of every slot, in the machine's main memory."""

from collections.abc import Sequence

import numpy as np

from charloom.burst import Feeds, StateSpec
from serving.engine.snapshot import State


class StatePool:
    """One row per slot in each state tensor."""

    def __init__(self, specs: Sequence[StateSpec], capacity: int) -> None:
        self.specs = specs
        self.capacity = capacity
        # Zeros that were never written take no memory, so slots that were never in use are free.
        self.tensors = {spec.name: np.zeros((capacity, *spec.shape), spec.dtype) for spec in specs}

    def reset(self, slot: int) -> None:
        """Sets a slot to the state of a fresh stream."""
        for spec in self.specs:
            self.tensors[spec.name][slot] = spec.initial

    def gather(self, slots: Sequence[int]) -> Feeds:
        """Returns copies of the state of these slots as a burst takes it, [B, ...] each."""
        rows = np.asarray(slots)
        return {name: tensor.take(rows, axis=0) for name, tensor in self.tensors.items()}

    def scatter(self, slots: Sequence[int], outputs: Feeds) -> None:
        """Stores the state that a burst returned for these slots, [B, ...] each."""
        rows = np.asarray(slots)
        for spec in self.specs:
            self.tensors[spec.name][rows] = outputs[spec.output]

    def restore(self, slot: int, state: State) -> None:
        """Sets a slot to a state of one row."""
        for name, tensor in self.tensors.items():
            tensor[slot] = state[name][0]

    def spread(self, source: int, targets: Sequence[int]) -> None:
        """Sets several slots to the state of another one."""
        rows = np.asarray(targets)
        for tensor in self.tensors.values():
            tensor[rows] = tensor[source]

    def copy(self, source: int, target: int) -> None:
        """Sets a slot to the state of another one."""
        for tensor in self.tensors.values():
            tensor[target] = tensor[source]

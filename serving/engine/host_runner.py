"""The host runner: a runner that keeps the state in the machine's main memory."""

from collections.abc import Sequence
from typing import Protocol

from charloom.burst import Feeds, GraphKind, StateSpec
from serving.engine.snapshot import State
from serving.engine.state_pool import StatePool


class BurstFunction(Protocol):
    """Runs bursts whose state is an input and an output, as `Executor` does."""

    @property
    def state(self) -> Sequence[StateSpec]:
        """The state tensors."""
        ...

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst; raises CharloomError if it fails."""
        ...


class HostRunner:
    """Implements `Runner`: gathers the state of a burst's slots, runs it, and scatters the new state."""

    def __init__(self, function: BurstFunction, capacity: int) -> None:
        self._function = function
        self._pool = StatePool(function.state, capacity)
        self._state_outputs = {spec.output for spec in function.state}

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self._pool.capacity

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        """Runs one burst and advances the state of its slots; see `Runner.run`."""
        outputs = self._function.run(kind, feeds | self._pool.gather(slots))
        self._pool.scatter(slots, outputs)
        return {name: array for name, array in outputs.items() if name not in self._state_outputs}

    def reset(self, slot: int) -> None:
        """Sets a slot to the state of a fresh stream."""
        self._pool.reset(slot)

    def snapshot(self, slot: int) -> State:
        """Returns a copy of a slot's state."""
        return self._pool.gather([slot])

    def restore(self, slot: int, state: State) -> None:
        """Sets a slot to a state that `snapshot` returned."""
        self._pool.restore(slot, state)

    def spread(self, source: int, targets: Sequence[int]) -> None:
        """Sets several slots to the state of another one."""
        self._pool.spread(source, targets)

    def copy(self, source: int, target: int) -> None:
        """Sets a slot to the state of another one."""
        self._pool.copy(source, target)

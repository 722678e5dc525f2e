"""The runner: runs bursts, and keeps the state of every slot on its device.

The engine sees slots and tokens alone; it never handles a state tensor but as part of a snapshot, which it
passes on unread.
"""

from collections.abc import Sequence
from typing import Protocol

from charloom.burst import Feeds, GraphKind
from charloom.errors import CharloomError
from serving.engine.snapshot import State


class ProviderError(CharloomError):
    """The requested device cannot be used."""

    exit_code = 8


class PrecisionError(CharloomError):
    """The requested precision is not available."""

    exit_code = 8


class RunError(CharloomError):
    """The runtime failed to run a burst."""


class Runner(Protocol):
    """Runs bursts over a fixed number of slots, each of which holds the state of one stream.

    Slots are numbered from 0. A slot's state is undefined until `reset`, `restore` or `copy` sets it. One
    thread uses a runner at a time. onnxruntime-genai's `RecurrentState` has the same verbs.
    """

    @property
    def capacity(self) -> int:
        """Number of slots."""
        ...

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        """Runs one burst and advances the state of its slots.

        Args:
            kind: which burst graph runs.
            feeds: the inputs of B rows (`charloom.burst.INPUTS[kind]`), without state.
            slots: the slot [B] of each row, all different.

        Returns:
            The outputs (`charloom.burst.OUTPUTS[kind]`), without state; no ranks if the bundle has none.

        Raises:
            RunError: the runtime failed; every slot has the state it had before.
            CharloomError: the graph could not be opened; likewise.
        """
        ...

    def reset(self, slot: int) -> None:
        """Sets a slot to the state of a fresh stream."""
        ...

    def snapshot(self, slot: int) -> State:
        """Returns a copy of a slot's state in the machine's main memory."""
        ...

    def restore(self, slot: int, state: State) -> None:
        """Sets a slot to a state that `snapshot` returned, here or on another machine."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Sets a slot to the state of another one, without leaving the device."""
        ...

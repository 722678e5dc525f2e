"""The runner: runs bursts, and keeps the state of every slot on its device.

The engine sees slots and tokens alone; it never handles a state tensor but as part of a snapshot, which it
passes on unread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from charloom.bundle import Precision
from charloom.burst import Feeds, GraphKind
from charloom.errors import CharloomError, require
from serving.engine.snapshot import State

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class RunnerConfig:
    """Where and how bursts run."""

    device: Device = "auto"
    """auto takes CUDA where onnxruntime has it and it works, else the CPU."""
    precision: Literal["auto", "float32", "int8"] = "auto"
    """auto takes the fastest in the bundle that the device runs well."""
    threads: int = 0
    """Threads of a burst on the CPU; 0 for one per core."""

    def __post_init__(self) -> None:
        require(self.device in get_args(Device), "device", f"must be one of {', '.join(get_args(Device))}")
        precisions = ("auto", *get_args(Precision))
        require(self.precision in precisions, "precision", f"must be one of {', '.join(precisions)}")
        require(self.threads >= 0, "threads", "must be 0 (one per core) or more")


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
            The outputs (`charloom.burst.OUTPUTS[kind]`), without state.

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

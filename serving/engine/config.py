"""The options of the engine: where bursts run, and how streams share them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from charloom.ranges import check_ranges

Device = Literal["auto", "cpu", "cuda"]
RunnerPrecision = Literal["auto", "float32", "int8"]


@dataclass(frozen=True)
class RunnerConfig:
    """Where and how bursts run."""

    device: Device = "auto"
    """Device to run on; auto takes a GPU if onnxruntime finds one that works, else the CPU."""
    precision: RunnerPrecision = "auto"
    """Precision to compute in; auto takes the fastest in the bundle that the device runs well."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """CPU threads; 0 takes one for each core."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class SchedulerConfig:
    """How streams share the machine."""

    max_streams: Annotated[int, Meta(ge=1)] = 4096
    """Texts generated at the same time, in turns; each keeps its state in memory."""
    max_batch: Annotated[int, Meta(ge=2)] = 256
    """Texts computed together in one burst."""
    max_waiting: Annotated[int, Meta(ge=0)] = 1024
    """Requests that may wait for a free slot; more are refused."""
    max_burst: Annotated[int, Meta(ge=1)] = 256
    """Tokens of each text computed in one burst, at the most."""
    latency_budget: Annotated[float, Meta(gt=0)] = 0.1
    """Seconds that a burst may take: new requests wait, and running ones hear nothing, for about as long."""
    buffer_tokens: Annotated[int, Meta(ge=1)] = 1024
    """Tokens of a text that its client has not taken yet, at which generating it pauses."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def largest_batch(self) -> int:
        """The largest batch that can come up."""
        return min(self.max_batch, self.max_streams)

"""The scheduler: which streams run in the next burst, and for how many steps.

Pure policy. It counts and compares; it holds no state tensor and runs nothing.
"""

from collections import deque
from dataclasses import dataclass, field

from charloom.errors import require
from serving.engine.request import Stream


@dataclass(frozen=True)
class SchedulerConfig:
    """How streams share the machine."""

    max_streams: int = 256
    """Streams that run at the same time."""
    max_waiting: int = 1024
    """Requests that wait for a slot; beyond it they are refused."""
    max_burst: int = 32
    """Most steps of a burst."""
    latency_budget: float = 0.05
    """How long a burst may take, in seconds: the pace at which streams join, leave and hear."""
    buffer_tokens: int = 1024
    """Tokens made for a stream that its reader has not taken, after which it pauses."""

    def __post_init__(self) -> None:
        require(self.max_streams >= 1, "max-streams", "must be at least 1")
        require(self.max_waiting >= 0, "max-waiting", "must be 0 or more")
        require(self.max_burst >= 1, "max-burst", "must be at least 1")
        require(self.latency_budget > 0, "latency-budget", "must be above 0 seconds")
        require(self.buffer_tokens >= 1, "buffer-tokens", "must be at least 1")


@dataclass(frozen=True)
class Plan:
    """One burst: its rows and its length K."""

    streams: list[Stream]
    steps: int


@dataclass
class StepCost:
    """How long one step takes, learnt from the bursts that ran, by batch size in powers of two."""

    SHARE = 0.25
    seconds: dict[int, float] = field(default_factory=dict)

    def learn(self, rows: int, steps: int, elapsed: float) -> None:
        """Takes in a burst that ran."""
        key, measured = rows.bit_length(), elapsed / steps
        known = self.seconds.get(key, measured)
        self.seconds[key] = known + self.SHARE * (measured - known)

    def estimate(self, rows: int) -> float:
        """Seconds a step; of the nearest batch size known, 0 if none is."""
        if not self.seconds:
            return 0.0
        return self.seconds[min(self.seconds, key=lambda key: abs(key - rows.bit_length()))]


class Scheduler:
    """First come, first served; every stream with a slot takes part in every burst."""

    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.cost = StepCost()
        self.waiting: deque[Stream] = deque()
        self.running: list[Stream] = []

    def add(self, stream: Stream) -> None:
        """Puts a stream at the end of the queue."""
        self.waiting.append(stream)

    def promote(self, stream: Stream) -> None:
        """Moves the first of the queue among the running."""
        assert self.waiting[0] is stream, "streams are promoted in the order they came"
        self.running.append(self.waiting.popleft())

    def remove(self, stream: Stream) -> None:
        """Forgets a stream, wherever it is."""
        (self.waiting if stream in self.waiting else self.running).remove(stream)

    def plan(self) -> Plan | None:
        """The next burst; None if no stream can run."""
        streams = [stream for stream in self.running if not self.paused(stream)]
        if not streams:
            return None
        return Plan(streams, self.burst_length(streams))

    def paused(self, stream: Stream) -> bool:
        """Whether a stream waits for its own reader."""
        return stream.released - stream.consumed >= self.config.buffer_tokens

    def burst_length(self, streams: list[Stream]) -> int:
        """As many steps as fit the latency budget, and no more than some row has left."""
        step = self.cost.estimate(len(streams))
        affordable = int(self.config.latency_budget / step) if step > 0 else 1
        longest = max(stream.steps_left for stream in streams)
        return max(1, min(affordable, self.config.max_burst, longest))

"""The scheduler: which streams run in the next burst, and for how many steps.

Pure policy. It counts and compares; it holds no state tensor and runs nothing.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice

from serving.engine.config import SchedulerConfig
from serving.engine.request import Stream


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
        """Seconds a step; 0 if nothing ran yet.

        A size that never ran is taken to cost in proportion to the nearest that did, and no less
        than it: the burst that finds out had better be too short than too long.
        """
        if not self.seconds:
            return 0.0
        nearest = min(self.seconds, key=lambda key: abs(key - rows.bit_length()))
        return self.seconds[nearest] * 2.0 ** max(0, rows.bit_length() - nearest)


BURST_OVERHEAD = 1e-3
"""Seconds of work around a burst: feeds, wake-ups."""
ROW_OVERHEAD = 1e-4
"""Seconds of work around each row of it: its message through gRPC, the reader's side included."""
OVERHEAD_SHARE = 0.1
"""How small that work is to be beside the burst."""


def worthwhile(rows: int) -> float:
    """How long a burst of so many rows must take, in seconds, to make the work around it small."""
    return (BURST_OVERHEAD + ROW_OVERHEAD * rows) / OVERHEAD_SHARE


class Scheduler:
    """First come, first served; streams that run take turns, those that have yet to speak first."""

    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.cost = StepCost()
        self.waiting: deque[Stream] = deque()
        # The running ones, whose turn is longest ago first: those without a generated token, and
        # the others.
        self._starting: OrderedDict[Stream, None] = OrderedDict()
        self._speaking: OrderedDict[Stream, None] = OrderedDict()

    @property
    def running(self) -> list[Stream]:
        """The streams with a slot."""
        return [*self._starting, *self._speaking]

    def add(self, stream: Stream) -> None:
        """Puts a stream at the end of the queue."""
        self.waiting.append(stream)

    def promote(self, stream: Stream) -> None:
        """Moves the first of the queue among the running."""
        assert self.waiting[0] is stream, "streams are promoted in the order they came"
        self._starting[self.waiting.popleft()] = None

    def remove(self, stream: Stream) -> None:
        """Forgets a stream, wherever it is."""
        for running in (self._speaking, self._starting):
            if stream in running:
                del running[stream]
                return
        self.waiting.remove(stream)

    def plan(self) -> Plan | None:
        """The next burst; None if no stream can run."""
        streams = self._next_rows()
        if not streams:
            return None
        steps = self.burst_length(streams)
        self._rotate(streams, steps)
        return Plan(streams, steps)

    def paused(self, stream: Stream) -> bool:
        """Whether a stream waits for its own reader."""
        return stream.released - stream.consumed >= self.config.buffer_tokens

    def burst_length(self, streams: list[Stream]) -> int:
        """As many steps as are worthwhile within the latency budget, and no more than some row has left."""
        step = self.cost.estimate(len(streams))
        pace = min(self.config.latency_budget, worthwhile(len(streams)))
        affordable = int(pace / step) if step > 0 else 1
        longest = max(stream.steps_left for stream in streams)
        return max(1, min(affordable, self.config.max_burst, longest))

    def _next_rows(self) -> list[Stream]:
        """Who runs: those without a token first, so that none waits long for it.

        They get no more than half of the batch while others can run, whom no flood may stop.
        """
        most = self.config.max_batch
        starting = list(islice(self._starting, most))
        room = max(most - len(starting), most // 2)
        speaking = list(islice((s for s in self._speaking if not self.paused(s)), room))
        return starting[: most - len(speaking)] + speaking

    def _rotate(self, streams: list[Stream], steps: int) -> None:
        """Puts who runs behind those who wait for their turn."""
        for stream in streams:
            if stream in self._speaking:
                self._speaking.move_to_end(stream)
            elif stream.forced_left < min(steps, stream.steps_left):
                del self._starting[stream]
                self._speaking[stream] = None
            else:
                self._starting.move_to_end(stream)

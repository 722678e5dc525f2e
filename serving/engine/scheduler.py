"""The scheduler: which streams run in the next burst, and for how many steps. Policy only."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from serving.engine.config import SchedulerConfig
from serving.engine.stream import Stream

Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """One burst: its rows and its length K."""

    streams: list[Stream]
    steps: int


@dataclass
class StepCost:
    """How long one step takes, by batch size in powers of two: a moving average over past bursts."""

    SHARE = 0.25
    seconds: dict[int, float] = field(default_factory=dict)

    def learn(self, rows: int, steps: int, elapsed: float) -> None:
        """Updates the average with a burst that ran."""
        key, measured = rows.bit_length(), elapsed / steps
        known = self.seconds.get(key, measured)
        self.seconds[key] = known + self.SHARE * (measured - known)

    def estimate(self, rows: int) -> float:
        """Returns the seconds of a step; 0 if nothing ran yet.

        A size that never ran is assumed to cost in proportion to the nearest that did, and no less than it:
        a first burst that is too short does less harm than one that is too long.
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
"""Largest acceptable ratio of that work to the burst."""


def efficient_seconds(rows: int) -> float:
    """Returns how long a burst of so many rows must take to make the work around it small."""
    return (BURST_OVERHEAD + ROW_OVERHEAD * rows) / OVERHEAD_SHARE


def best_length(most: int, end_rates: Rates, rows: int, step: float, overhead: float) -> int:
    """Returns the steps of a burst that bring the most tokens a second, where texts of series end in it.

    The steps of a row after the end of its text are lost, and a short burst pays more for the work around it.

    Args:
        most: steps at the most.
        end_rates: how likely each row of a series ends its text at a step [S]; the other rows go on.
        rows: B.
        step: seconds of a step.
        overhead: seconds of the work around a burst.
    """
    lengths = np.arange(1, most + 1)  # [K]
    rates, counts = np.unique(end_rates.clip(1e-9, 1 - 1e-9), return_counts=True)
    tokens = (rows - len(end_rates)) * lengths
    for rate, count in zip(rates, counts, strict=True):
        tokens = tokens + count * -np.expm1(lengths * np.log1p(-rate)) / rate
    return int(lengths[np.argmax(tokens / (overhead + step * lengths))])


class Scheduler:
    """First come, first served; running streams take turns, those without a generated token first."""

    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.cost = StepCost()
        self.overhead = StepCost()
        """How long the work around a burst takes; as that of one step."""
        self.waiting: deque[Stream] = deque()
        # The running ones, least recently run first: those without a generated token, and the others.
        self._starting: OrderedDict[Stream, None] = OrderedDict()
        self._generating: OrderedDict[Stream, None] = OrderedDict()

    @property
    def running(self) -> list[Stream]:
        """The streams with a slot."""
        return [*self._starting, *self._generating]

    def add(self, stream: Stream) -> None:
        """Appends a stream to the waiting queue."""
        self.waiting.append(stream)

    def start(self, stream: Stream) -> None:
        """Moves the first of the waiting queue among the running.

        Nobody waits for the first token of a text of a series, so it takes turns with those that have one.
        """
        assert self.waiting[0] is stream, "streams start in the order they came"
        among = self._starting if stream.series is None else self._generating
        among[self.waiting.popleft()] = None

    def remove(self, stream: Stream) -> None:
        """Removes a stream, waiting or running."""
        for running in (self._generating, self._starting):
            if stream in running:
                del running[stream]
                return
        self.waiting.remove(stream)

    def plan(self) -> Plan | None:
        """Returns the next burst; None if no stream can run."""
        streams = self._next_rows()
        if not streams:
            return None
        steps = self.burst_length(streams)
        self._rotate(streams, steps)
        return Plan(streams, steps)

    def paused(self, stream: Stream) -> bool:
        """Returns whether a stream waits for its own reader."""
        return stream.unread >= self.config.buffer_tokens

    def burst_length(self, streams: list[Stream]) -> int:
        """Returns as many steps as make it efficient within the latency budget, and as some row has left."""
        step = self.cost.estimate(len(streams))
        seconds = min(self.config.latency_budget, efficient_seconds(len(streams)))
        affordable = int(seconds / step) if step > 0 else 1
        longest = max(stream.steps_left for stream in streams)
        steps = max(1, min(affordable, self.config.max_burst, longest))
        rates = np.array([stream.series.end_rate for stream in streams if stream.series is not None])
        if step == 0 or not rates.any():
            return steps
        return best_length(steps, rates, len(streams), step, self.overhead.estimate(len(streams)))

    def _next_rows(self) -> list[Stream]:
        """Returns the rows: streams without a token first, so that none waits long for its first.

        They get no more than half of the batch while others can run, so that no flood of new ones stops
        those.
        """
        most = self.config.max_batch
        starting = list(islice(self._starting, most))
        room = max(most - len(starting), most // 2)
        generating = list(islice((s for s in self._generating if not self.paused(s)), room))
        return starting[: most - len(generating)] + generating

    def _rotate(self, streams: list[Stream], steps: int) -> None:
        """Moves the streams that run behind those that do not."""
        for stream in streams:
            if stream in self._generating:
                self._generating.move_to_end(stream)
            elif stream.forced_left < min(steps, stream.steps_left):
                del self._starting[stream]
                self._generating[stream] = None
            else:
                self._starting.move_to_end(stream)

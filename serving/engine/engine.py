"""The engine: streams in, text out, one burst at a time.

Wiring only: the scheduler decides, the batch becomes feeds, the runner runs, the pool keeps the
state. It is driven from one thread (`serving/engine/thread.py`, or whoever calls `step`); `submit`
and `cancel` may be called from any.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from charloom.burst import Feeds, GraphKind, StateSpec
from charloom.errors import CharloomError
from charloom.vocabulary import CharacterVocabulary, Tokens
from serving.engine.batch import Batch
from serving.engine.outbox import Logprobs
from serving.engine.request import Finish, Request, Stream, Update
from serving.engine.scheduler import Scheduler, SchedulerConfig
from serving.engine.state_pool import StatePool
from serving.errors import BurstError, DeadlineError, OverloadedError, ServingError


class BurstRunner(Protocol):
    """Whoever can run a burst."""

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst; raises CharloomError if it cannot."""
        ...


@dataclass(frozen=True)
class Report:
    """What one call of `step` did."""

    updates: list[Update] = field(default_factory=list)
    rows: int = 0
    steps: int = 0
    """K of the burst; 0 if none ran."""
    seconds: float = 0.0
    """How long the burst took."""
    read: int = 0
    """Prompt tokens read."""
    generated: int = 0
    """Tokens generated."""


class Engine:
    """Continuous batching of streams over one bundle's burst graph."""

    def __init__(
        self,
        runner: BurstRunner,
        vocabulary: CharacterVocabulary,
        state: Iterable[StateSpec],
        config: SchedulerConfig,
    ) -> None:
        self.runner = runner
        self.vocabulary = vocabulary
        self.config = config
        self.pool = StatePool(list(state), config.max_streams)
        self.scheduler = Scheduler(config)
        self._arrived: deque[Stream] = deque()
        self._lock = Lock()
        self._places = config.max_streams + config.max_waiting

    def submit(self, request: Request, deadline: float | None = None) -> Stream:
        """Lets a request in; its text comes out of later calls of `step`. From any thread.

        Raises:
            OverloadedError: every slot and every waiting place is taken.
        """
        with self._lock:
            if self._places == 0:
                raise OverloadedError(self.config.max_streams + self.config.max_waiting)
            self._places -= 1
        stream = Stream(request, self.vocabulary.start, deadline)
        self._arrived.append(stream)
        return stream

    def cancel(self, stream: Stream) -> None:
        """Gives a stream up; it leaves before the next burst. From any thread."""
        stream.cancelled = True

    def step(self) -> Report:
        """Runs one burst for all that can run and gives what came of it."""
        updates = self._admit_and_expire()
        plan = self.scheduler.plan()
        if plan is None:
            return Report(updates)
        batch = Batch(plan.streams, plan.steps, self.vocabulary.size)
        started = time.perf_counter()
        try:
            outputs = self._run(batch)
        except CharloomError as error:
            return Report(updates + [self._fail(stream, BurstError(str(error))) for stream in plan.streams])
        elapsed = time.perf_counter() - started
        self.scheduler.cost.learn(len(plan.streams), plan.steps, elapsed)
        updates += self._deliver(batch, outputs)
        read = int(batch.forced.sum())
        generated = int(batch.steps.sum()) - read
        return Report(updates, len(plan.streams), plan.steps, elapsed, read, generated)

    def abandon(self, error: ServingError) -> Report:
        """Ends every stream with an error, for an engine that will not run again."""
        streams = [*self._arrived, *self.scheduler.waiting, *self.scheduler.running]
        self.scheduler.waiting.extend(self._arrived)
        self._arrived.clear()
        return Report([self._fail(stream, error) for stream in streams])

    @property
    def ready(self) -> bool:
        """Whether a call of `step` would find something to do."""
        scheduler = self.scheduler
        return bool(
            self._arrived
            or (scheduler.waiting and self.pool.used < self.pool.capacity)
            or any(stream.cancelled for stream in scheduler.waiting)
            or any(stream.cancelled or not scheduler.paused(stream) for stream in scheduler.running)
        )

    @property
    def waiting(self) -> int:
        """Streams that wait for a slot."""
        return len(self._arrived) + len(self.scheduler.waiting)

    @property
    def empty(self) -> bool:
        """Whether no stream is left."""
        return not (self._arrived or self.scheduler.waiting or self.scheduler.running)

    def _run(self, batch: Batch) -> Feeds:
        """Runs a burst from the streams' state to their next."""
        slots = [stream.slot for stream in batch.streams if stream.slot is not None]
        assert len(slots) == len(batch.streams), "a running stream has a slot"
        outputs = self.runner.run(batch.kind, batch.feeds() | self.pool.gather(slots))
        self.pool.scatter(slots, outputs)
        return outputs

    def _admit_and_expire(self) -> list[Update]:
        """Drops who is gone or late, then gives free slots to those who wait, in order."""
        while self._arrived:
            self.scheduler.add(self._arrived.popleft())
        now = time.monotonic()
        updates = []
        for stream in [*self.scheduler.waiting, *self.scheduler.running]:
            if stream.cancelled:
                self._leave(stream)
            elif stream.deadline is not None and stream.deadline <= now:
                updates.append(self._fail(stream, DeadlineError()))
        while self.scheduler.waiting and (slot := self.pool.acquire()) is not None:
            stream = self.scheduler.waiting[0]
            stream.slot = slot
            self.scheduler.promote(stream)
        return updates

    def _deliver(self, batch: Batch, outputs: Feeds) -> list[Update]:
        """Advances every stream of a burst and makes the updates of those that have news."""
        updates = []
        for row, stream in enumerate(batch.streams):
            stream.last = int(outputs["last_out"][row])
            stream.position += int(batch.steps[row])
            generated = slice(batch.forced[row], batch.steps[row])
            update = self._update(
                stream, outputs["chosen"][generated, row], outputs["logprob"][generated, row]
            )
            if update.final:
                self._leave(stream)
            if update.final or len(update.tokens):
                updates.append(update)
        return updates

    def _update(self, stream: Stream, tokens: Tokens, logprobs: Logprobs) -> Update:
        """What of the tokens [T] that a stream generated may go out now."""
        done = stream.steps_left == 0
        parcel = stream.outbox.put(self.vocabulary, tokens, logprobs, final=done)
        stream.released += len(parcel.tokens)
        return Update(
            stream,
            text=parcel.text,
            tokens=parcel.tokens,
            logprobs=parcel.logprobs,
            position=len(stream.request.prompt) + stream.released,
            finish=Finish.STOP if parcel.stopped else Finish.LENGTH if done else None,
        )

    def _fail(self, stream: Stream, error: ServingError) -> Update:
        """Ends a stream with an error."""
        self._leave(stream)
        return Update(stream, position=stream.position, error=error)

    def _leave(self, stream: Stream) -> None:
        """Takes a stream out and frees its slot and its place."""
        self.scheduler.remove(stream)
        if stream.slot is not None:
            self.pool.release(stream.slot)
            stream.slot = None
        with self._lock:
            self._places += 1

"""The engine: streams in, text out, one burst at a time.

Wiring only: the scheduler decides, the batch becomes feeds, the runner runs, the pool keeps the
state. It is driven from one thread (`serving/engine/thread.py`, or whoever calls `step`); submitting,
`find_room` and `cancel` may be done from any.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Protocol

import numpy as np

from charloom.burst import Feeds, GraphKind, StateSpec
from charloom.errors import CharloomError
from charloom.options import MAX_WINDOW, InvalidRequestError, Violation, seed_of
from charloom.vocabulary import Tokens, Vocabulary, no_tokens
from serving.engine.appointments import Appointments
from serving.engine.batch import Batch
from serving.engine.choices import Choices
from serving.engine.request import Anchor, Finish, Request, Stream, Update, newest
from serving.engine.scheduler import Scheduler, SchedulerConfig
from serving.engine.snapshot import Snapshot
from serving.engine.state_pool import StatePool
from serving.errors import BurstError, DeadlineError, OverloadedError, ServingError
from serving.logs import describe

logger = logging.getLogger(__name__)


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
    """K of the burst; 0 if none ran to its end."""
    failed: bool = False
    """Whether one failed."""
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
        vocabulary: Vocabulary,
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
        self.places = config.max_streams + config.max_waiting
        """Streams that can be let in."""
        self._free_places = self.places
        self._appointments = Appointments()

    def submit(self, request: Request, deadline: float | None = None) -> Stream:
        """Lets a request in; its text comes out of later calls of `step`. From any thread.

        Raises:
            OverloadedError: every slot and every waiting place is taken.
        """
        return self.submit_texts(request, 1, deadline)[0]

    def submit_texts(self, request: Request, n: int, deadline: float | None = None) -> list[Stream]:
        """Lets in n texts of one prompt, which is read once; their seeds count up from the request's.

        Raises:
            OverloadedError: fewer than n slots and waiting places are free.
            InvalidRequestError: there will never be so many.
        """
        self._take_places("n", n)
        streams = [
            Stream(replace(request, seed=seed_of(request.seed, i)), self.vocabulary, deadline)
            for i in range(n)
        ]
        if request.given:
            streams[0].siblings = streams[1:]
        self._arrived.extend(streams[:1] if streams[0].siblings else streams)
        return streams

    def submit_all(self, requests: Sequence[Request], deadline: float | None = None) -> list[Stream]:
        """Lets in several requests at once, or none of them.

        Raises:
            OverloadedError: fewer slots and waiting places are free.
            InvalidRequestError: there will never be so many.
        """
        self._take_places("texts", len(requests))
        streams = [Stream(request, self.vocabulary, deadline) for request in requests]
        self._arrived.extend(streams)
        return streams

    def find_room(self) -> None:
        """Raises OverloadedError where nothing at all could be let in now. From any thread."""
        with self._lock:
            self._look_for(1)

    def _take_places(self, field: str, count: int) -> None:
        if count > self.places:
            raise InvalidRequestError([Violation(field, f"must be at most {self.places} here, not {count}")])
        with self._lock:
            self._look_for(count)
            self._free_places -= count

    def _look_for(self, count: int) -> None:
        """Raises OverloadedError where fewer places are free; to be called under the lock."""
        if self._free_places < count:
            raise OverloadedError(self.places, self._appointments.wait())

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
            return Report(updates + self._fail(plan.streams, BurstError(str(error))), failed=True)
        elapsed = time.perf_counter() - started
        self.scheduler.cost.learn(len(plan.streams), plan.steps, elapsed)
        updates += self._deliver(batch, outputs)
        read = int(batch.forced.sum())
        generated = int(batch.steps.sum()) - read
        return Report(updates, len(plan.streams), plan.steps, seconds=elapsed, read=read, generated=generated)

    def probe(self) -> bool:
        """Whether bursts succeed: runs one of a single step, which is nobody's."""
        request = Request(no_tokens(), max_tokens=1, seed=0)
        batch = Batch([Stream(request, self.vocabulary)], 1, self.vocabulary.size)
        state = {spec.name: spec.initial_rows(1) for spec in self.pool.specs}
        try:
            self.runner.run(batch.kind, batch.feeds() | state)
        except CharloomError:
            return False
        return True

    def abandon(self, error: ServingError) -> Report:
        """Ends every stream with an error, for an engine that will not run again."""
        self.scheduler.waiting.extend(self._arrived)
        self._arrived.clear()
        streams = [*self.scheduler.waiting, *self.scheduler.running]
        last_words = [
            update for update in map(self._last_words, self.scheduler.running) if update is not None
        ]
        return Report(last_words + self._fail(streams, error))

    def _last_words(self, stream: Stream) -> Update | None:
        """Where a running stream that will not run again stands, if that is of use to its reader."""
        if not stream.request.snapshots or stream.slot is None or stream.forced_left:
            return None
        try:
            return Update(stream, position=stream.visible, snapshot=self._snapshot(stream))
        except CharloomError:
            return None
        except Exception as error:
            # A defect, perhaps the one that ends the engine. The others are to be told all the same.
            logger.error("a last state could not be had: %s", describe(error))  # noqa: TRY400
            return None

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
        """Streams that wait for a slot, or for another to read their prompt."""
        return self.places - self._free_places - self.pool.used

    @property
    def empty(self) -> bool:
        """Whether no stream is left."""
        return not (self._arrived or self.scheduler.waiting or self.scheduler.running)

    def _run(self, batch: Batch) -> Feeds:
        """Runs a burst from the streams' state to their next."""
        slots = [stream.slot for stream in batch.streams if stream.slot is not None]
        assert len(slots) == len(batch.streams), "a running stream has a slot"
        feeds, before = batch.feeds(), self.pool.gather(slots)
        outputs = self.runner.run(batch.kind, feeds | before)
        self.pool.scatter(slots, outputs)
        for row, stream in enumerate(batch.streams):
            if stream.may_turn_back and stream.visible >= stream.position:
                state = {name: tensor[row : row + 1].copy() for name, tensor in before.items()}
                stream.anchor = Anchor(stream.snapshot(state))
        return {"chosen": feeds["forced"]} | outputs  # a reading burst chooses nothing

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
                updates += self._fail([stream], DeadlineError())
        while self.scheduler.waiting and (slot := self.pool.acquire()) is not None:
            stream = self.scheduler.waiting[0]
            stream.slot = slot
            if stream.inherited is not None:
                self.pool.put(slot, stream.inherited)
                stream.inherited = None
            self.scheduler.promote(stream)
        return updates

    def _deliver(self, batch: Batch, outputs: Feeds) -> list[Update]:
        """Advances every stream of a burst and makes the updates of those that have news."""
        chosen = outputs["chosen"]  # [K, B]
        unasked = np.broadcast_to(np.float32(np.nan), chosen.shape)
        none = np.empty((*chosen.shape, 0))  # [K, B, 0]
        top_token, top_logprob = outputs.get("top_token", none), outputs.get("top_logprob", none)
        updates = []
        for row, stream in enumerate(batch.streams):
            stream.advance(chosen[: batch.steps[row], row])
            if stream.siblings and not stream.forced_left:
                self._fork(stream)
            shown = slice(batch.silent[row], batch.steps[row])
            asked = stream.request.logprobs is not None
            wanted = stream.request.logprobs or 0
            choices = Choices(
                chosen[shown, row],
                (outputs["logprob"] if asked and "logprob" in outputs else unasked)[shown, row],
                top_token[shown, row, :wanted],
                top_logprob[shown, row, :wanted],
            )
            try:
                update = self._update(stream, choices)
            except CharloomError as error:
                updates += self._fail([stream], BurstError(str(error)))
                continue
            if update.final:
                self._leave(stream)
            if update.final or len(update.choices):
                updates.append(update)
        return updates

    def _fork(self, stream: Stream) -> None:
        """Lets the siblings of a stream go on from the state after the prompt that it has read."""
        assert stream.slot is not None, "a running stream has a slot"
        snapshot = stream.snapshot(self.pool.gather([stream.slot]))
        for sibling in stream.siblings:
            sibling.go_on(snapshot)
            self.scheduler.add(sibling)
        stream.siblings = []

    def _update(self, stream: Stream, choices: Choices) -> Update:
        """What of the tokens that a stream generated may go out now."""
        done = stream.steps_left == 0
        released = stream.detokenizer.put(choices, final=done)
        stream.released += len(released.choices)
        finish = Finish.STOP if released.stopped else Finish.LENGTH if done else None
        return Update(
            stream,
            texts=released.texts,
            choices=released.choices,
            position=stream.visible,
            finish=finish,
            snapshot=self._snapshot(stream) if stream.due(final=finish is not None) else None,
        )

    def _snapshot(self, stream: Stream) -> Snapshot:
        """Where a stream stands after the last token that was handed out."""
        stream.saved = stream.released
        if stream.position == stream.visible:
            assert stream.slot is not None, "a running stream has a slot"
            return stream.snapshot(self.pool.gather([stream.slot]))
        assert stream.anchor is not None, "only a stream with stops holds tokens back, and it has an anchor"
        return self._replay(stream.anchor.snapshot, stream.anchor.until(stream.visible))

    def _replay(self, origin: Snapshot, tokens: Tokens) -> Snapshot:
        """Where a stream stands that reads tokens [T] from a snapshot on."""
        if not len(tokens):
            return origin
        feeds = {"last": np.array([origin.last]), "forced": tokens[:, None]}
        outputs = self.runner.run("read", feeds | origin.state)
        return Snapshot(
            state={spec.name: outputs[spec.output] for spec in self.pool.specs},
            last=int(tokens[-1]),
            position=origin.position + len(tokens),
            recent=newest(MAX_WINDOW, origin.recent, tokens),
        )

    def _fail(self, streams: Iterable[Stream], error: ServingError) -> list[Update]:
        """Ends streams with an error, and with each those that wait for it to read their prompt."""
        updates = []
        for stream in streams:
            siblings, stream.siblings = stream.siblings, []
            self._leave(stream)
            self._release_places(len(siblings))
            updates += [Update(each, position=each.visible, error=error) for each in (stream, *siblings)]
        return updates

    def _leave(self, stream: Stream) -> None:
        """Takes a stream out and frees its slot and its place; a sibling has to read the prompt anew."""
        self.scheduler.remove(stream)
        if stream.slot is not None:
            self.pool.release(stream.slot)
            stream.slot = None
        heirs = [sibling for sibling in stream.siblings if not sibling.cancelled]
        self._release_places(1 + len(stream.siblings) - len(heirs))
        if heirs:
            heirs[0].siblings = heirs[1:]
            self._arrived.append(heirs[0])
        stream.siblings, stream.inherited, stream.anchor = [], None, None

    def _release_places(self, count: int) -> None:
        with self._lock:
            self._free_places += count

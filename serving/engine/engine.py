"""The engine: continuous batching of streams, one burst at a time.

Wiring only: the scheduler decides, the batch makes the inputs, the runner runs them and keeps the state. One
thread drives it (`serving/engine/thread.py`, or whoever calls `step`); `submit`, `check_capacity` and `abort`
may be called from any.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from charloom.burst import Feeds
from charloom.errors import CharloomError
from charloom.options import MAX_WINDOW, InvalidRequestError, Violation, seed_of
from charloom.vocabulary import Tokens, Vocabulary, no_tokens
from serving.engine.batch import Batch
from serving.engine.config import SchedulerConfig
from serving.engine.detokenizer import Released
from serving.engine.fresh_states import FreshStates
from serving.engine.request import Request
from serving.engine.retry_after import RetryAfter
from serving.engine.runner import Runner
from serving.engine.sampled_tokens import SampledTokens, unrequested
from serving.engine.scheduler import Scheduler
from serving.engine.slots import Slots
from serving.engine.snapshot import Snapshot
from serving.engine.stream import Stream, newest
from serving.engine.text_series import MAX_HELD, TextSeries
from serving.engine.update import Finish, Update
from serving.errors import BurstError, DeadlineError, OverloadedError, ServingError
from serving.logs import describe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """What one call of `step` did."""

    updates: list[Update] = field(default_factory=list)
    rows: int = 0
    steps: int = 0
    """K of the burst; 0 if none ran to its end."""
    failed: bool = False
    """Whether a burst failed."""
    seconds: float = 0.0
    """How long the burst took."""
    read: int = 0
    """Prompt tokens read."""
    generated: int = 0
    """Tokens generated."""


class Engine:
    """Runs many streams through one runner."""

    def __init__(self, runner: Runner, vocabulary: Vocabulary, config: SchedulerConfig) -> None:
        assert runner.capacity >= Slots.needed(config.max_streams), "the runner has enough slots"
        self.runner = runner
        self.vocabulary = vocabulary
        self.config = config
        self.slots = Slots(config.max_streams)
        self.fresh_states = FreshStates(runner, self.slots.scratch, vocabulary.start)
        self.scheduler = Scheduler(config)
        self.max_admitted = config.max_streams + config.max_waiting
        """Streams that can be in the engine at the same time, running or waiting."""
        self._arrived: deque[Stream] = deque()
        self._lock = Lock()
        self._free = self.max_admitted
        """Streams that can still be admitted."""
        self._retry_after = RetryAfter()

    def submit(self, request: Request, deadline: float | None = None) -> Stream:
        """Admits a request; its text comes out of later calls of `step`. From any thread.

        Raises:
            OverloadedError: the engine is full.
        """
        return self.submit_texts(request, 1, deadline)[0]

    def submit_texts(self, request: Request, n: int, deadline: float | None = None) -> list[Stream]:
        """Admits n texts of one prompt, which is read once; their seeds count up from the request's.

        Raises:
            OverloadedError: the engine has no room for n more streams.
            InvalidRequestError: it never has.
        """
        self._reserve("n", n)
        streams = [
            Stream(replace(request, seed=seed_of(request.seed, i)), self.vocabulary, deadline)
            for i in range(n)
        ]
        if request.forced:
            streams[0].children = streams[1:]
        self._arrived.extend(streams[:1] if streams[0].children else streams)
        return streams

    def submit_all(self, requests: Sequence[Request], deadline: float | None = None) -> list[Stream]:
        """Admits several requests at once, or none of them.

        Raises:
            OverloadedError: the engine has no room for so many more streams.
            InvalidRequestError: it never has.
        """
        self._reserve("texts", len(requests))
        streams = [Stream(request, self.vocabulary, deadline) for request in requests]
        self._arrived.extend(streams)
        return streams

    def submit_series(self, series: TextSeries) -> list[Stream]:
        """Admits a series of texts, and returns its first streams; the others begin as those end.

        It takes the room of as many streams as run at the same time, until it ends.

        Raises:
            OverloadedError: the engine has no room for so many more streams.
            InvalidRequestError: it never has.
        """
        self._reserve("parallel", series.parallel)
        streams = series.first()
        if series.needs_state:
            streams[0].children = streams[1:]
        self._arrived.extend(streams[:1] if series.needs_state else streams)
        return streams

    def check_capacity(self) -> None:
        """Raises OverloadedError if no stream could be admitted now. From any thread."""
        with self._lock:
            self._check_free(1)

    def _reserve(self, field: str, count: int) -> None:
        """Counts streams as admitted; `field` is the one of the request that says how many they are."""
        if count > self.max_admitted:
            reason = f"must be at most {self.max_admitted} here, not {count}"
            raise InvalidRequestError([Violation(field, reason)])
        with self._lock:
            self._check_free(count)
            self._free -= count

    def _check_free(self, count: int) -> None:
        """Raises OverloadedError unless so many streams can be admitted; called under the lock."""
        if self._free < count:
            raise OverloadedError(self.max_admitted, self._retry_after.next())

    def abort(self, owner: Stream | TextSeries) -> None:
        """Aborts a stream, or all of a series; slots are released before the next burst. From any thread."""
        owner.aborted = True

    def step(self) -> StepReport:
        """Runs one burst for all streams that can run, and returns what came of it."""
        began = time.perf_counter()
        updates = self._admit_and_expire()
        plan = self.scheduler.plan()
        if plan is None:
            return StepReport(updates)
        batch = Batch(plan.streams, plan.steps, self.vocabulary)
        started = time.perf_counter()
        try:
            outputs = self._run(batch)
        except CharloomError as error:
            return StepReport(updates + self._fail(plan.streams, BurstError(str(error))), failed=True)
        elapsed = time.perf_counter() - started
        self.scheduler.cost.learn(len(plan.streams), plan.steps, elapsed)
        updates += self._deliver(batch, outputs)
        self.scheduler.overhead.learn(len(plan.streams), 1, time.perf_counter() - began - elapsed)
        read = int(batch.forced.sum())
        generated = int(batch.steps.sum()) - read
        return StepReport(
            updates, len(plan.streams), plan.steps, seconds=elapsed, read=read, generated=generated
        )

    def probe(self) -> bool:
        """Returns whether bursts succeed: runs one of a single step that belongs to no stream."""
        request = Request(no_tokens(), max_tokens=1, seed=0)
        batch = Batch([Stream(request, self.vocabulary)], 1, self.vocabulary)
        try:
            self.runner.reset(self.slots.scratch)
            self.runner.run(batch.kind, batch.feeds(), [self.slots.scratch])
        except CharloomError:
            return False
        return True

    def abandon(self, error: ServingError) -> StepReport:
        """Ends every stream with an error, for an engine that will not run again.

        Running streams that return state get a last snapshot before it.
        """
        self.scheduler.waiting.extend(self._arrived)
        self._arrived.clear()
        streams = [*self.scheduler.waiting, *self.scheduler.running]
        snapshots = [self._last_snapshot(stream) for stream in self.scheduler.running]
        return StepReport([update for update in snapshots if update is not None] + self._fail(streams, error))

    def _last_snapshot(self, stream: Stream) -> Update | None:
        """Returns the snapshot of a running stream that will not run again; None if it returns none."""
        if not stream.request.snapshots or stream.slot is None or stream.forced_left:
            return None
        try:
            return Update(stream, position=stream.visible, snapshot=self._snapshot(stream))
        except CharloomError:
            return None
        except Exception as error:
            # A defect, perhaps the one that ends the engine. The other streams get their updates anyway.
            logger.error("a last snapshot failed: %s", describe(error))  # noqa: TRY400
            return None

    @property
    def ready(self) -> bool:
        """Whether a call of `step` would find work."""
        scheduler = self.scheduler
        return bool(
            self._arrived
            or (scheduler.waiting and self.slots.used < self.slots.capacity)
            or any(stream.gone for stream in scheduler.waiting)
            or any(stream.gone or not scheduler.paused(stream) for stream in scheduler.running)
        )

    @property
    def waiting(self) -> int:
        """Streams that wait for a slot, or for another one to read their prompt."""
        return self.max_admitted - self._free - self.slots.used

    @property
    def empty(self) -> bool:
        """Whether no stream is left."""
        return not (self._arrived or self.scheduler.waiting or self.scheduler.running)

    def _run(self, batch: Batch) -> Feeds:
        """Runs a burst, after it has set the anchors of the streams that need one."""
        slots = [stream.slot for stream in batch.streams if stream.slot is not None]
        assert len(slots) == len(batch.streams), "a running stream has a slot"
        for stream, slot in zip(batch.streams, slots, strict=True):
            if stream.needs_anchor and stream.visible >= stream.position:
                self.runner.copy(slot, self.slots.anchor(slot))
                stream.set_anchor()
        feeds = batch.feeds()
        outputs = self.runner.run(batch.kind, feeds, slots)
        return {"chosen": feeds["forced"]} | outputs  # the read graph returns no tokens

    def _admit_and_expire(self) -> list[Update]:
        """Removes aborted and late streams, then gives free slots to those that wait, in order."""
        while self._arrived:
            self.scheduler.add(self._arrived.popleft())
        now = time.monotonic()
        updates = []
        for stream in [*self.scheduler.waiting, *self.scheduler.running]:
            if stream.gone:
                self._release(stream)
            elif stream.deadline is not None and stream.deadline <= now:
                updates += self._fail([stream], DeadlineError())
        while self.scheduler.waiting and (slot := self.slots.acquire()) is not None:
            stream = self.scheduler.waiting[0]
            try:
                self._start(stream, slot)
            except CharloomError as error:
                updates += self._fail([stream], BurstError(str(error)))
        return updates

    def _start(self, stream: Stream, slot: int) -> None:
        """Starts the first waiting stream in a free slot."""
        stream.slot = slot
        if stream.origin is None:
            self.fresh_states.set(slot, stream.labels)
        else:
            self.runner.restore(slot, stream.origin)
            stream.origin = None
        self.scheduler.start(stream)

    def _deliver(self, batch: Batch, outputs: Feeds) -> list[Update]:
        """Advances every stream of a burst and returns the updates of those that have any."""
        chosen = outputs["chosen"]  # [K, B]
        held = set(self._held(batch, chosen))
        not_requested = np.broadcast_to(np.float32(np.nan), chosen.shape)
        none = np.empty((*chosen.shape, 0))  # [K, B, 0]
        top_token, top_logprob = outputs.get("top_token", none), outputs.get("top_logprob", none)
        updates = []
        for row, stream in enumerate(batch.streams):
            stream.advance(chosen[: batch.steps[row], row])
            if row in held:
                stream.held.append(chosen[:, row].copy())
                continue
            shown = slice(batch.withheld[row], batch.steps[row])
            requested = stream.request.logprobs is not None
            alternatives = stream.request.logprobs or 0
            sampled = SampledTokens(
                chosen[shown, row],
                (outputs["logprob"] if requested and "logprob" in outputs else not_requested)[shown, row],
                top_token[shown, row, :alternatives],
                top_logprob[shown, row, :alternatives],
                outputs["rank"][shown, row] if stream.request.ranks and "rank" in outputs else no_tokens(),
            )
            try:
                if batch.cut[row]:
                    self._begin_record(stream, stream.position)
                if stream.forks and not stream.forced_left:
                    self._fork(stream)
                update = self._update(stream, with_held(stream, sampled) if stream.held else sampled)
            except CharloomError as error:
                updates += self._fail([stream], BurstError(str(error)))
                continue
            if update.final:
                if stream.series is not None:
                    stream.series.count_end(stream.released, by_length=update.finish is Finish.LENGTH)
                self._release(stream)
            if update.final or len(update.sampled):
                updates.append(update)
        return updates

    def _held(self, batch: Batch, chosen: Tokens) -> Iterator[int]:
        """Yields the rows whose tokens [K, B] may wait for the end of their text: it does not come here."""
        rows = [row for row, stream in enumerate(batch.streams) if holds(stream)]
        for series in {batch.streams[row].series for row in rows}:
            assert series is not None, "what holds is of a series"
            may_end = np.isin(chosen, series.ends).any(0)  # [B]
            goes_on = (~may_end & (batch.withheld == 0) & (batch.steps < batch.left)).tolist()  # [B]
            for row in rows:
                if batch.streams[row].series is series and goes_on[row]:
                    yield row

    def _fork(self, stream: Stream) -> None:
        """Queues the children of a stream, to start from its state after the prompt that it has read.

        The texts of its series that begin later start there too.
        """
        assert stream.slot is not None, "a running stream has a slot"
        snapshot = stream.snapshot(self.runner.snapshot(stream.slot))
        for child in stream.children:
            child.start_from(snapshot)
            self.scheduler.add(child)
        stream.children = []
        if stream.series is not None:
            stream.series.start_from(snapshot)

    def _update(self, stream: Stream, sampled: SampledTokens) -> Update:
        """Returns what may be handed out of the tokens that a stream generated."""
        done = stream.steps_left == 0
        released = stream.detokenizer.put(sampled, final=done)
        stream.release(len(released.sampled))
        if released.end is not None:
            return self._end(stream, released, released.end)
        finish = Finish.STOP if released.stopped else Finish.LENGTH if done else None
        return Update(
            stream,
            texts=released.texts,
            sampled=released.sampled,
            position=stream.visible,
            finish=finish,
            snapshot=self._snapshot(stream) if stream.due(final=finish is not None) else None,
        )

    def _end(self, stream: Stream, released: Released, end: SampledTokens) -> Update:
        """Returns the last update of a stream that sampled the end of its record; the burst ran beyond it."""
        due = stream.due(final=True)
        if due:
            self._begin_record(stream, stream.visible + 1)
        assert stream.slot is not None, "a running stream has a slot"
        return Update(
            stream,
            texts=released.texts,
            sampled=released.sampled,
            position=stream.visible + 1,
            finish=Finish.END,
            end_logprob=None if stream.request.logprobs is None else float(end.logprobs[0]),
            snapshot=stream.snapshot(self.runner.snapshot(stream.slot)) if due else None,
        )

    def _begin_record(self, stream: Stream, position: int) -> None:
        """Has a stream begin its next record at this position: in the fresh state, at the start token."""
        assert stream.slot is not None, "a running stream has a slot"
        self.fresh_states.set(stream.slot, stream.labels)
        stream.begin_record(position)

    def _snapshot(self, stream: Stream) -> Snapshot:
        """Returns the snapshot of a stream after the last token that was handed out."""
        stream.saved = stream.released
        assert stream.slot is not None, "a running stream has a slot"
        if stream.position == stream.visible:
            return stream.snapshot(self.runner.snapshot(stream.slot))
        return self._replay_from_anchor(stream)

    def _replay_from_anchor(self, stream: Stream) -> Snapshot:
        """Returns the snapshot of a stream at an earlier token, which it reads up to from its anchor."""
        slot, anchor, scratch = stream.slot, stream.anchor, self.slots.scratch
        assert slot is not None, "a running stream has a slot"
        assert anchor is not None, "only a stream with stops holds tokens back, and it has an anchor"
        tokens = anchor.until(stream.visible)
        self.runner.copy(self.slots.anchor(slot), scratch)
        if len(tokens):
            feeds = {"last": np.array([anchor.last]), "forced": tokens[:, None]}
            self.runner.run("read", feeds, [scratch])
        return Snapshot(
            state=self.runner.snapshot(scratch),
            last=int(tokens[-1]) if len(tokens) else anchor.last,
            position=stream.visible,
            recent=newest(MAX_WINDOW, anchor.recent, tokens),
            labels=stream.labels,
        )

    def _fail(self, streams: Iterable[Stream], error: ServingError) -> list[Update]:
        """Ends streams with an error, and with each the children that wait for it to read their prompt.

        A series ends with the first of its streams that fails; the reader of all gets the error.
        """
        updates = []
        for stream in streams:
            if stream.series is not None:
                stream.series.aborted = True
            children, stream.children = stream.children, []
            self._release(stream)
            self._add_free(len(children))
            updates += [Update(each, position=each.visible, error=error) for each in (stream, *children)]
        return updates

    def _release(self, stream: Stream) -> None:
        """Removes a stream and releases its slot; the next text of its series takes its place.

        The first of its children reads the prompt anew.
        """
        self.scheduler.remove(stream)
        if stream.slot is not None:
            self.slots.release(stream.slot)
            stream.slot = None
        children = [child for child in stream.children if not child.gone]
        successor = None if stream.series is None else stream.series.next()
        if successor is not None:
            self._arrived.append(successor)
        self._add_free((successor is None) + len(stream.children) - len(children))
        if children:
            children[0].children = children[1:]
            self._arrived.append(children[0])
        stream.children, stream.origin, stream.anchor = [], None, None

    def _add_free(self, count: int) -> None:
        """Counts streams as gone."""
        with self._lock:
            self._free += count


def holds(stream: Stream) -> bool:
    """Returns whether more tokens of a text may be held back."""
    held = stream.position - stream.visible
    return stream.series is not None and stream.series.holds and held < MAX_HELD


def with_held(stream: Stream, sampled: SampledTokens) -> SampledTokens:
    """Returns the tokens that were held back, and those of the last burst."""
    tokens = np.concatenate([*stream.held, sampled.tokens])
    stream.held = []
    return unrequested(tokens)

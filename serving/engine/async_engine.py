"""The engine for coroutines: requests in, updates out, without blocking the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from serving.engine.engine import Engine, StepReport
from serving.engine.request import Request
from serving.engine.sampled_tokens import concatenate
from serving.engine.stream import Stream
from serving.engine.text_series import TextSeries
from serving.engine.thread import EngineThread
from serving.engine.update import Update
from serving.errors import DrainingError, EngineDeadError, ServingError, StalledError


class AsyncEngine:
    """One engine, its thread, and the readers of its streams."""

    def __init__(self, engine: Engine, name: str, observe: Callable[[StepReport], None]) -> None:
        """`observe` is called in the event loop with the report of every burst."""
        self.engine = engine
        self.thread = EngineThread(engine, self._hand_over, name)
        self._observe = observe
        self._readers: dict[Stream | TextSeries, UpdateReader] = {}

    def start(self) -> None:
        """Starts the engine's thread; must be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.thread.start()

    async def stop(self) -> None:
        """Stops the engine; streams that are left end with an error."""
        await asyncio.to_thread(self.thread.stop)

    def submit_texts(self, request: Request, deadline: float | None, n: int = 1) -> "UpdateReader":
        """Admits a request for n texts and returns their reader.

        Raises:
            OverloadedError: the engine has no room for n more streams.
            InvalidRequestError: it never has.
            DrainingError: the engine has stopped.
        """
        return self._read(lambda: self.engine.submit_texts(request, n, deadline))

    def submit_all(self, requests: Sequence[Request], deadline: float | None) -> "UpdateReader":
        """Admits several requests and returns their common reader; raises as `submit_texts` does."""
        return self._read(lambda: self.engine.submit_all(requests, deadline))

    def submit_series(self, series: TextSeries) -> "UpdateReader":
        """Admits a series of texts and returns the reader of all; raises as `submit_texts` does."""
        return self._read(lambda: self.engine.submit_series(series))

    def _read(self, submit: Callable[[], Sequence[Stream]]) -> "UpdateReader":
        if not self.thread.alive:
            raise DrainingError
        reader = UpdateReader(self, submit())
        self._readers |= dict.fromkeys((stream.owner for stream in reader.streams), reader)
        self.thread.wake()
        return reader

    def check_health(self, patience: float) -> bool:
        """Returns whether bursts advance; fails all streams if not, so that they resume elsewhere."""
        healthy = self.thread.healthy(patience)
        if not healthy:
            # A dead engine has failed its streams itself, unless a further defect kept it from that.
            self.fail_streams(StalledError(patience) if self.thread.alive else EngineDeadError())
        return healthy

    def fail_streams(self, error: ServingError) -> None:
        """Ends every stream for its reader, if the engine itself cannot: it is stuck, or dead."""
        for owner, reader in self._readers.items():
            stream = owner if isinstance(owner, Stream) else reader.streams[0]
            reader.put(Update(stream, position=stream.visible, error=error))

    def abort(self, streams: Iterable[Stream]) -> None:
        """Aborts those of the streams that have not ended, series as a whole; readers get nothing more."""
        owners = dict.fromkeys(stream.owner for stream in streams)
        unfinished = [owner for owner in owners if self._readers.pop(owner, None) is not None]
        for owner in unfinished:
            self.engine.abort(owner)
        if unfinished:
            self.thread.wake()

    def _hand_over(self, report: StepReport) -> None:
        """Passes a report to the event loop, from the engine's thread: one call per burst, not per stream."""
        self._loop.call_soon_threadsafe(self._dispatch, report)

    def _dispatch(self, report: StepReport) -> None:
        self._observe(report)
        for update in report.updates:
            reader = self._readers.get(update.stream.owner)
            if reader is None:
                continue
            reader.put(update)
            if update.final and update.stream.series is None:
                del self._readers[update.stream]


class UpdateReader:
    """The updates of one call's streams, to be awaited; several of one stream that wait are merged.

    Their size is bounded, since the scheduler pauses a stream whose reader has fallen behind.
    """

    def __init__(self, engine: AsyncEngine, streams: Sequence[Stream]) -> None:
        self._engine = engine
        self._updates: dict[Stream, list[Update]] = {}
        self._arrived = asyncio.Event()
        self._last_read = time.monotonic()
        self.streams = streams

    def put(self, update: Update) -> None:
        """Adds an update."""
        self._updates.setdefault(update.stream, []).append(update)
        self._arrived.set()

    def heartbeat(self, interval: float) -> None:
        """Has `next` return without updates if it has returned none for `interval` seconds."""
        if time.monotonic() - self._last_read >= interval:
            self._arrived.set()

    async def next(self) -> list[Update]:
        """Waits for updates and takes all there are, one a stream; none at a heartbeat."""
        await self._arrived.wait()
        self._arrived.clear()
        self._last_read = time.monotonic()
        updates = [merge(updates) for updates in self._updates.values()]
        self._updates = {}
        paused = any(self._engine.engine.scheduler.paused(update.stream) for update in updates)
        for update in updates:
            update.stream.consume(len(update.sampled), final=update.final)
        if paused:
            self._engine.thread.wake()
        return updates

    def abort(self) -> None:
        """Aborts the streams that have not ended."""
        self._engine.abort(self.streams)


def merge(updates: Sequence[Update]) -> Update:
    """Merges consecutive updates of one stream."""
    last = updates[-1]
    if len(updates) == 1:
        return last
    return replace(
        last,
        texts=[text for update in updates for text in update.texts],
        sampled=concatenate([update.sampled for update in updates]),
        snapshot=next((update.snapshot for update in reversed(updates) if update.snapshot), None),
    )

"""The engine as coroutines see it: requests in, updates out, the event loop never blocked.

It carries updates from the engine's thread to the readers of an asyncio loop, and knows nothing
of the protocol that those readers speak.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from serving.engine.choices import join
from serving.engine.engine import Engine, Report
from serving.engine.request import Request, Stream, Update
from serving.engine.thread import EngineThread
from serving.errors import DeadError, DrainingError, ServingError, StalledError


class AsyncEngine:
    """One engine, its thread, and the readers of its streams."""

    def __init__(self, engine: Engine, name: str, observe: Callable[[Report], None]) -> None:
        """`observe` is called in the event loop with the report of every burst."""
        self.engine = engine
        self.thread = EngineThread(engine, self._hand_over, name)
        self._observe = observe
        self._readers: dict[Stream, Reader] = {}

    def start(self) -> None:
        """Starts the engine's thread; must be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.thread.start()

    async def stop(self) -> None:
        """Ends the engine; streams that are left end with an error."""
        await asyncio.to_thread(self.thread.stop)

    def open(self, request: Request, deadline: float | None, n: int = 1) -> "Reader":
        """Lets a request for n texts in and gives their reader.

        Raises:
            OverloadedError: there are not enough free slots and waiting places.
            InvalidRequestError: there will never be so many.
            DrainingError: the engine has ended.
        """
        return self._read(lambda: self.engine.submit_texts(request, n, deadline))

    def open_all(self, requests: Sequence[Request], deadline: float | None) -> "Reader":
        """Lets several requests in and gives their common reader; raises as `open` does."""
        return self._read(lambda: self.engine.submit_all(requests, deadline))

    def _read(self, submit: Callable[[], Sequence[Stream]]) -> "Reader":
        if not self.thread.alive:
            raise DrainingError
        reader = Reader(self, submit())
        self._readers |= dict.fromkeys(reader.streams, reader)
        self.thread.wake()
        return reader

    def see_to(self, patience: float) -> bool:
        """Whether it is healthy; streams of one that is not are broken off, to go on elsewhere."""
        healthy = self.thread.healthy(patience)
        if not healthy:
            # A dead one has told its streams, but for those that a further defect kept it from telling.
            self.break_off(StalledError(patience) if self.thread.alive else DeadError())
        return healthy

    def break_off(self, error: ServingError) -> None:
        """Ends every stream for its reader, where the engine itself cannot: it is stuck, or dead."""
        for stream, reader in self._readers.items():
            reader.put(Update(stream, position=stream.visible, error=error))

    def forget(self, streams: Iterable[Stream]) -> None:
        """Gives up streams that nobody reads any longer, but for those that have ended."""
        unfinished = [stream for stream in streams if self._readers.pop(stream, None) is not None]
        for stream in unfinished:
            self.engine.cancel(stream)
        if unfinished:
            self.thread.wake()

    def _hand_over(self, report: Report) -> None:
        """Called in the engine's thread: one message to the loop per burst, not per stream."""
        self._loop.call_soon_threadsafe(self._dispatch, report)

    def _dispatch(self, report: Report) -> None:
        self._observe(report)
        for update in report.updates:
            reader = self._readers.get(update.stream)
            if reader is None:
                continue
            reader.put(update)
            if update.final:
                del self._readers[update.stream]


class Reader:
    """The updates of one request's streams, to be awaited; those that came meanwhile arrive as one.

    What it holds is bounded: the scheduler pauses a stream whose reader has fallen behind.
    """

    def __init__(self, engine: AsyncEngine, streams: Sequence[Stream]) -> None:
        self._engine = engine
        self._updates: dict[Stream, list[Update]] = {}
        self._arrived = asyncio.Event()
        self._heard = time.monotonic()
        self.streams = streams

    def put(self, update: Update) -> None:
        """Takes an update in."""
        self._updates.setdefault(update.stream, []).append(update)
        self._arrived.set()

    def poke(self, silence: float) -> None:
        """Lets who waits for news know that there is none, if there was none for so many seconds."""
        if time.monotonic() - self._heard >= silence:
            self._arrived.set()

    async def next(self) -> list[Update]:
        """Waits for news and takes all of it, one update a stream; none where it was poked."""
        await self._arrived.wait()
        self._arrived.clear()
        self._heard = time.monotonic()
        updates = [merge(updates) for updates in self._updates.values()]
        self._updates = {}
        paused = any(self._engine.engine.scheduler.paused(update.stream) for update in updates)
        for update in updates:
            update.stream.consumed += len(update.choices)
        if paused:
            self._engine.thread.wake()
        return updates

    def close(self) -> None:
        """Gives up the streams that have not ended."""
        self._engine.forget(self.streams)


def merge(updates: Sequence[Update]) -> Update:
    """Several updates of one stream, in order, as one."""
    last = updates[-1]
    if len(updates) == 1:
        return last
    return replace(
        last,
        texts=[text for update in updates for text in update.texts],
        choices=join([update.choices for update in updates]),
        snapshot=next((update.snapshot for update in reversed(updates) if update.snapshot), None),
    )

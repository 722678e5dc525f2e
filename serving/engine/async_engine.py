"""The engine as coroutines see it: requests in, updates out, the event loop never blocked.

It carries updates from the engine's thread to the readers of an asyncio loop, and knows nothing
of the protocol that those readers speak.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np

from serving.engine.engine import Engine, Report
from serving.engine.request import Request, Stream, Update
from serving.engine.thread import EngineThread
from serving.errors import DrainingError


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

    def open(self, request: Request, deadline: float | None) -> "Reader":
        """Lets a request in and gives the reader of its text.

        Raises:
            OverloadedError: every slot and every waiting place is taken.
            DrainingError: the engine has ended.
        """
        if not self.thread.alive:
            raise DrainingError
        stream = self.engine.submit(request, deadline)
        reader = self._readers[stream] = Reader(self, stream)
        self.thread.wake()
        return reader

    def forget(self, stream: Stream) -> None:
        """Gives up a stream that nobody reads any longer, unless it has ended."""
        if self._readers.pop(stream, None) is not None:
            self.engine.cancel(stream)
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
    """The updates of one stream, to be awaited; those that came meanwhile arrive as one.

    What it holds is bounded: the scheduler pauses a stream whose reader has fallen behind.
    """

    def __init__(self, engine: AsyncEngine, stream: Stream) -> None:
        self._engine = engine
        self._updates: deque[Update] = deque()
        self._arrived = asyncio.Event()
        self.stream = stream

    def put(self, update: Update) -> None:
        """Takes an update in."""
        self._updates.append(update)
        self._arrived.set()

    async def next(self) -> Update:
        """Waits for news and takes all of it."""
        await self._arrived.wait()
        self._arrived.clear()
        update = merge([*self._updates])
        self._updates.clear()
        paused = self._engine.engine.scheduler.paused(self.stream)
        self.stream.consumed += len(update.tokens)
        if paused:
            self._engine.thread.wake()
        return update

    def close(self) -> None:
        """Gives the stream up if it has not ended."""
        self._engine.forget(self.stream)


def merge(updates: list[Update]) -> Update:
    """Several updates of one stream, in order, as one."""
    last = updates[-1]
    if len(updates) == 1:
        return last
    return Update(
        stream=last.stream,
        text="".join(update.text for update in updates),
        tokens=np.concatenate([update.tokens for update in updates]),
        logprobs=np.concatenate([update.logprobs for update in updates]),
        position=last.position,
        finish=last.finish,
        error=last.error,
    )

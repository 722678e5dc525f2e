"""Slow readers: ends the stream of a client that reads nothing for too long."""

import asyncio
from collections.abc import Awaitable
from math import inf
from time import monotonic
from typing import Self

from charloom.client.watchdog import AsyncWatchdog
from serving.errors import SlowReaderError


class Watch(AsyncWatchdog):
    """Watches the writes of one call, in the task that makes them: a watchdog that is paused between writes.

    A timer for each write would cost as much as a third of the write; the watchdog has one for the call.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(self._break_off, seconds)
        self.pause()

    async def over(self, write: Awaitable[None]) -> None:
        """Waits for a write; raises SlowReaderError once it takes too long."""
        self._fed = monotonic()  # what `feed` and `pause` do, without a call for every message
        try:
            await write
        except asyncio.CancelledError:
            if self.expired and self._task.uncancel() == 0:  # else somebody else cancels as well
                raise SlowReaderError(self.timeout) from None
            raise
        finally:
            self._fed = inf

    def _break_off(self) -> None:
        """Cancels the write that takes too long."""
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a call is answered in a task"
        self._task = task
        return super().__enter__()

"""Generations: texts on their way from a server, for threads and for asyncio.

A generation yields its text as it arrives, and goes on with another call where one breaks off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.client.attempts import Attempts
from charloom.client.piece import Piece
from charloom.client.request_error import RequestError, aborted, ended_early, timed_out
from charloom.client.watchdog import AsyncWatchdog, Watchdog


class Generation(Attempts):
    """Texts on their way; iterate for the pieces of a single one, or over `pieces()` for several."""

    def pieces(self) -> Iterator[Piece]:
        """Yields the responses; raises RequestError if the text cannot be finished on any server."""
        while remaining := list(self._journal.remaining()):
            try:
                for index, message in remaining:
                    yield from self._attempt(index, message)
                if any(self._journal.remaining()):
                    raise ended_early()
            except RequestError as error:
                time.sleep(self._delay(error))

    def _attempt(self, index: int | None, message: pb.GenerateRequest) -> Iterator[Piece]:
        """The pieces of one call."""
        self._begin(index, message)
        timeout = self._retries.config.idle_timeout
        with Watchdog(self._call.cancel, timeout) as watchdog:
            try:
                for response in self._call:
                    if (piece := self._receive(index, response)) is not None:
                        watchdog.pause()  # the caller may take any time over a piece
                        yield piece
                    watchdog.feed()
            except grpc.RpcError as error:
                raise timed_out(timeout) if watchdog.expired else RequestError.of(error) from error
            finally:
                self._call.cancel()  # aborts a call that the caller reads no further; one that ended stays

    def __iter__(self) -> Iterator[str]:
        single(self.n)
        return (piece.text for piece in self.pieces() if piece.text)

    def text(self) -> str:
        """Waits for the whole text, if it is a single one."""
        return "".join(self)

    def texts(self) -> list[str]:
        """Waits for all texts; the one at index i has the seed plus i."""
        texts = [""] * self.n
        for piece in self.pieces():
            texts[piece.index] += piece.text
        return texts


class AsyncGeneration(Attempts):
    """Texts on their way, for `async for`."""

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yields the responses; raises RequestError if the text cannot be finished on any server."""
        while remaining := list(self._journal.remaining()):
            try:
                for index, message in remaining:
                    async for piece in self._attempt(index, message):
                        yield piece
                if any(self._journal.remaining()):
                    raise ended_early()
            except RequestError as error:
                await asyncio.sleep(self._delay(error))

    async def _attempt(self, index: int | None, message: pb.GenerateRequest) -> AsyncIterator[Piece]:
        """The pieces of one call."""
        self._begin(index, message)
        before = cancellations()
        with AsyncWatchdog(self._call.cancel, self._retries.config.idle_timeout) as watchdog:
            try:
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    if (piece := self._receive(index, response)) is not None:
                        watchdog.pause()  # the caller may take any time over a piece
                        yield piece
                    watchdog.feed()
            except grpc.aio.AioRpcError as error:
                raise RequestError.of(error) from error
            except asyncio.CancelledError:
                if cancellations() > before:  # the task that reads is cancelled, whatever else happened
                    raise
                if watchdog.expired:  # it cancelled the call
                    raise timed_out(watchdog.timeout) from None
                if self._cancelled:
                    raise aborted() from None
                raise
            finally:
                self._call.cancel()  # as above

    async def __aiter__(self) -> AsyncIterator[str]:
        single(self.n)
        async for piece in self.pieces():
            if piece.text:
                yield piece.text

    async def text(self) -> str:
        """Waits for the whole text, if it is a single one."""
        return "".join([text async for text in self])

    async def texts(self) -> list[str]:
        """Waits for all texts; the one at index i has the seed plus i."""
        texts = [""] * self.n
        async for piece in self.pieces():
            texts[piece.index] += piece.text
        return texts


def cancellations() -> int:
    """Pending cancellation requests of the running task, which may have gone on all the same."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def single(n: int) -> None:
    """Raises ValueError unless there is one text only: the pieces of several would be mixed up."""
    if n != 1:
        raise ValueError(f"there are {n} texts: take them with pieces() or texts()")

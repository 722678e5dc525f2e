"""Generations: texts on their way from a server, for threads and for asyncio.

A generation yields its text as it arrives, and goes on with another call where one breaks off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing

import charloom.v1.charloom_pb2 as pb
from charloom.client.attempts import Attempts
from charloom.client.piece import Piece
from charloom.client.request_error import RequestError, ended_early
from charloom.client.responses import read, read_async


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
        with closing(read(self._call, self._idle_timeout)) as responses:
            for response in responses:
                if (piece := self._receive(index, response)) is not None:
                    yield piece

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
        reading = read_async(self._call, self._idle_timeout, lambda: self._cancelled)
        async with aclosing(reading) as responses:
            async for response in responses:
                if (piece := self._receive(index, response)) is not None:
                    yield piece

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


def single(n: int) -> None:
    """Raises ValueError unless there is one text only: the pieces of several would be mixed up."""
    if n != 1:
        raise ValueError(f"there are {n} texts: take them with pieces() or texts()")

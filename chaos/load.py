"""Load: readers who ask for one text after another, and what each of them got.

It asks by our asyncio client and knows nothing of what is done to servers and connections; nor whether
what it got is right.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from chaos.asks import Ask, Asks
from charloom.client import AsyncClient, AsyncGeneration, Ending, RequestError
from charloom.client.retries import UNREACHABLE, RetryConfig

RETRIES = RetryConfig(max_attempts=40, max_backoff=2.0, idle_timeout=3.0)
"""Of clients who mean to see the end of a text, whatever happens."""
REFUSED = UNREACHABLE | {grpc.StatusCode.RESOURCE_EXHAUSTED}
PAUSE = 0.5
"""Seconds after which who was refused asks again, unless the server says when."""
READERS = 10
"""Of one client, so of one set of connections."""


@dataclass(frozen=True)
class Received:
    """What came of one ask, by index of the text."""

    texts: list[str]
    tokens: list[list[int]]
    endings: dict[int, Ending]


@dataclass
class Load:
    """Asks that are read, each to its end: at least so many, and for at least so long."""

    asks: Asks
    streams: int
    seconds: float = 0.0
    received: dict[int, Received] = field(default_factory=dict)
    """By number of the ask."""
    lost: dict[int, str] = field(default_factory=dict)
    """Asks that failed for good, and why."""
    refused: int = 0
    """Times that nobody took an ask, which was asked again."""
    interrupted: int = 0
    """Asks of which a text was broken off in the middle, and went on."""
    by_state: list[int] = field(default_factory=list)
    """How often it went on by state, for each ask in which that happened."""
    by_replay: list[int] = field(default_factory=list)
    """The same by replay."""
    inexact: int = 0

    async def run(self, clients: Sequence[Sequence[str]], retries: RetryConfig = RETRIES) -> None:
        """Reads all by clients, one for each list of addresses, and `READERS` readers each."""
        numbers = self._numbers(time.monotonic() + self.seconds)
        await asyncio.gather(*(self._client(addresses, numbers, retries) for addresses in clients))

    def _numbers(self, ends: float) -> Iterator[int]:
        number = 0
        while number < self.streams or time.monotonic() < ends:
            yield number
            number += 1

    async def _client(self, addresses: Sequence[str], numbers: Iterator[int], retries: RetryConfig) -> None:
        async with AsyncClient(addresses, retries) as client:
            await asyncio.gather(*(self._reader(client, numbers) for _ in range(READERS)))

    async def _reader(self, client: AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            try:
                self.received[number] = await self._read(client, self.asks[number])
            except RequestError as error:
                self.lost[number] = str(error)

    async def _read(self, client: AsyncClient, ask: Ask) -> Received:
        """Reads one ask, and asks again while nobody takes it."""
        while True:
            generation = client.generate(ask.prompt, token_ids=True, **ask.arguments)
            try:
                received = await receive(generation)
            except RequestError as error:
                if generation.seed is not None or error.code not in REFUSED:
                    raise
                self.refused += 1
                await asyncio.sleep(pause(error))
                continue
            self._count(generation)
            return received

    def _count(self, generation: AsyncGeneration) -> None:
        """Takes note of how a text came through."""
        self.interrupted += generation.resumed_by_state + generation.resumed_by_replay > 0
        self.inexact += not generation.exact
        if generation.resumed_by_state:
            self.by_state.append(generation.resumed_by_state)
        if generation.resumed_by_replay:
            self.by_replay.append(generation.resumed_by_replay)


def pause(refusal: RequestError) -> float:
    """Seconds after which who was refused asks again."""
    return refusal.retry_after or PAUSE


async def receive(generation: AsyncGeneration) -> Received:
    """Reads a generation to its end."""
    texts = [""] * generation.n
    tokens: list[list[int]] = [[] for _ in texts]
    async for piece in generation.pieces():
        texts[piece.index] += piece.text
        tokens[piece.index] += piece.token_ids
    return Received(texts, tokens, generation.endings)

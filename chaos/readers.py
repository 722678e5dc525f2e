"""Readers: clients that request one text after another and keep what they receive."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from chaos.workload import Workload, WorkloadRequest
from charloom.client import AsyncClient, AsyncGeneration, Ending, RequestError
from charloom.client.retries import UNREACHABLE, RetryConfig

RETRIES = RetryConfig(max_attempts=40, max_backoff=2.0, idle_timeout=3.0)
"""For clients that must see the end of a text, whatever happens."""
REFUSED = UNREACHABLE | {grpc.StatusCode.RESOURCE_EXHAUSTED}
PAUSE = 0.5
"""Seconds until a refused request is sent again, without a retry-after of the server."""
READERS = 10
"""Readers that share a client, and so its connections."""


@dataclass(frozen=True)
class Received:
    """The texts of one request, by index."""

    texts: list[str]
    tokens: list[list[int]]
    endings: dict[int, Ending]


@dataclass
class Readers:
    """Readers of a workload: of at least so many requests, and for at least so long."""

    workload: Workload
    streams: int
    seconds: float = 0.0
    received: dict[int, Received] = field(default_factory=dict)
    """What was received, by index of the request."""
    lost: dict[int, str] = field(default_factory=dict)
    """The errors of requests that failed for good, by index."""
    refused: int = 0
    """How often a request was refused, and sent again."""
    interrupted: int = 0
    """Requests of which a text broke off in the middle, and went on."""
    by_state: list[int] = field(default_factory=list)
    """How often it went on by state, for each request in which that happened."""
    by_replay: list[int] = field(default_factory=list)
    """The same by replay."""
    inexact: int = 0

    async def run(self, clients: Sequence[Sequence[str]], retries: RetryConfig = RETRIES) -> None:
        """Runs a client for each list of addresses, with `READERS` readers each, until all is read."""
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
                self.received[number] = await self._read(client, self.workload[number])
            except RequestError as error:
                self.lost[number] = str(error)

    async def _read(self, client: AsyncClient, request: WorkloadRequest) -> Received:
        """Reads one request, and sends it again while it is refused."""
        while True:
            generation = client.generate(request.prompt, token_ids=True, **request.arguments)
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
        """Counts how the texts of a request were resumed."""
        self.interrupted += generation.resumed_by_state + generation.resumed_by_replay > 0
        self.inexact += not generation.exact
        if generation.resumed_by_state:
            self.by_state.append(generation.resumed_by_state)
        if generation.resumed_by_replay:
            self.by_replay.append(generation.resumed_by_replay)


def pause(refusal: RequestError) -> float:
    """Seconds until a refused request is sent again."""
    return refusal.retry_after or PAUSE


async def receive(generation: AsyncGeneration) -> Received:
    """Reads a generation to its end."""
    texts = [""] * generation.n
    tokens: list[list[int]] = [[] for _ in texts]
    async for piece in generation.pieces():
        texts[piece.index] += piece.text
        tokens[piece.index] += piece.token_ids
    return Received(texts, tokens, generation.endings)

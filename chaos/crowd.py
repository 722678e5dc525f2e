"""A crowd: hundreds of clients that come at once and leave before their texts end.

Half of them abort their requests; the connections of the others are cut.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from chaos.proxy import Link
from chaos.workload import Workload
from charloom.client import AsyncClient, RequestError
from charloom.client.retries import RetryConfig

ONCE = RetryConfig(max_attempts=1)
STAY = (0.2, 2.0)
"""Seconds until they leave, at least and at most."""


@dataclass
class Crowds:
    """Crowds that come to one server, one after another."""

    port: int
    workload: Workload
    size: int
    chance: random.Random
    came: int = 0
    refused: int = 0
    """Clients that were refused since all slots and waiting places were taken."""
    unexpected: int = 0
    """Clients that were refused for another reason."""

    async def come_and_go(self, numbers: Iterator[int]) -> None:
        """Sends one crowd, whose clients take these requests of the workload."""
        polite, rude = [await Link(self.port).listen() for _ in range(2)]
        try:
            async with AsyncClient(polite.address, ONCE) as one, AsyncClient(rude.address, ONCE) as other:
                visits = [self._visit((one, other)[i % 2], next(numbers)) for i in range(self.size)]
                await self._stay([asyncio.create_task(visit) for visit in visits], rude)
        finally:
            polite.close()
            rude.close()

    async def _stay(self, visitors: Sequence[asyncio.Task[None]], rude: Link) -> None:
        """Waits for a moment; then half of them abort, and the link of the others is cut."""
        try:
            await asyncio.sleep(self.chance.uniform(*STAY))
        finally:
            rude.close()
            for visitor in visitors[::2]:
                visitor.cancel()
            results = await asyncio.gather(*visitors, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _visit(self, client: AsyncClient, number: int) -> None:
        """Requests a text and reads it until the client leaves."""
        request = self.workload[number]
        self.came += 1
        generation = client.generate(request.prompt, **request.arguments)
        try:
            async for _ in generation.pieces():
                pass
        except RequestError as error:
            self.refused += error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
            self.unexpected += error.code not in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.UNAVAILABLE,  # it was cut off
            )

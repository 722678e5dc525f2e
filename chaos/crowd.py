"""A crowd: hundreds of clients who come at once and go before they have what they asked for.

Half of them cancel, and the connections of the others are gone without a word.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from chaos.asks import Asks
from chaos.proxy import Link
from charloom.client import AsyncClient, RequestError
from charloom.client.retries import RetryConfig

ONCE = RetryConfig(max_attempts=1)
STAY = (0.2, 2.0)
"""Seconds until they go."""


@dataclass
class Crowds:
    """Crowds that come to one server, one after another."""

    port: int
    asks: Asks
    size: int
    chance: random.Random
    came: int = 0
    refused: int = 0
    """Who was told that all places are taken."""
    unexpected: int = 0
    """Who was told anything else."""

    async def come_and_go(self, numbers: Iterator[int]) -> None:
        """One crowd."""
        polite, rude = [await Link(self.port).listen() for _ in range(2)]
        try:
            async with AsyncClient(polite.address, ONCE) as one, AsyncClient(rude.address, ONCE) as other:
                visits = [self._visit((one, other)[i % 2], next(numbers)) for i in range(self.size)]
                await self._stay([asyncio.create_task(visit) for visit in visits], rude)
        finally:
            polite.close()
            rude.close()

    async def _stay(self, visitors: Sequence[asyncio.Task[None]], rude: Link) -> None:
        """Lets them stay for a moment; then half of them cancel, and the link of the others is cut."""
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
        """Asks for a text and reads it, until one is torn away."""
        ask = self.asks[number]
        self.came += 1
        generation = client.generate(ask.prompt, **ask.arguments)
        try:
            async for _ in generation.pieces():
                pass
        except RequestError as error:
            self.refused += error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
            self.unexpected += error.code not in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.UNAVAILABLE,  # it was cut off
            )

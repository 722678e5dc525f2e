"""The client of the server's benchmark: a process of its own, with our asyncio client.

    python -m benchmarks.load ADDRESS LOAD

LOAD is a `Load` as JSON; the result, a `Reception`, goes to standard output as JSON. The same
requests drive the bare engine (`benchmarks/server.py`), so that both do the same work.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from charloom.client import AsyncClient

SHORT, LONG = 16, 1000
"""Characters of a prompt."""
LONG_ONE_IN = 10
LENGTHS = (20, 1000)


@dataclass(frozen=True)
class LoadRequest:
    """One request."""

    prompt: str
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Load:
    """A load on a server."""

    streams: int
    tokens: int
    """Length of each text, all begun at the same moment; 0: users come one by one, and each requests one
    text after another."""
    seconds: float = 0.0
    """Seconds that the users stay after they have all come."""
    alphabet: str = ""
    """Characters of the prompts."""

    @property
    def ramp(self) -> float:
        """Seconds in which the users come and their first prompts are read; no figure counts them."""
        return 1.0 + 0.004 * self.streams

    def requests(self, user: int) -> Iterator[LoadRequest]:
        """The requests of one user."""
        chance = random.Random(user)  # noqa: S311
        while True:
            length = SHORT if self.tokens or chance.randrange(LONG_ONE_IN) else LONG
            prompt = "".join(chance.choices(self.alphabet, k=length))
            yield LoadRequest(prompt, self.tokens or chance.randint(*LENGTHS), chance.getrandbits(53))


@dataclass
class Reception:
    """What arrived, and when; times in seconds."""

    tokens: int = 0
    messages: int = 0
    seconds: float = 0.0
    """Time over which the tokens were counted."""
    all_tokens: int = 0
    """Tokens, those of the ramp included."""
    cpu: float = 0.0
    """CPU seconds of the client for all tokens."""
    first_after: dict[int, list[float]] = field(default_factory=lambda: {SHORT: [], LONG: []})
    """Time to the first token, by length of the prompt."""
    between: list[float] = field(default_factory=list)
    """Time between two messages of a stream."""


class User:
    """Requests and reads texts; what arrives before `counts_from`, on `time.perf_counter`, is not counted."""

    def __init__(
        self, client: AsyncClient, requests: Iterator[LoadRequest], into: Reception, counts_from: float
    ) -> None:
        self.client = client
        self.requests = requests
        self.reception = into
        self.counts_from = counts_from

    async def read_one(self) -> None:
        """Requests one text and reads it."""
        request = next(self.requests)
        began = time.perf_counter()
        last: float | None = None
        generation = self.client.generate(
            request.prompt, max_tokens=request.max_tokens, seed=request.seed, token_ids=True
        )
        async for piece in generation.pieces():
            if not piece.token_ids:
                continue  # it says only that the text begins
            now = time.perf_counter()
            self.reception.all_tokens += len(piece.token_ids)
            if now >= self.counts_from:
                self.reception.tokens += len(piece.token_ids)
                self.reception.messages += 1
                if last is not None:
                    self.reception.between.append(now - last)
                elif began >= self.counts_from:
                    self.reception.first_after[len(request.prompt)].append(now - began)
            last = now

    async def read_on(self, delay: float) -> None:
        """Requests one text after another, after a delay in seconds."""
        await asyncio.sleep(delay)
        while True:
            await self.read_one()


async def together(client: AsyncClient, load: Load) -> Reception:
    """All users at the same moment, each with one text."""
    reception, began = Reception(), time.perf_counter()
    users = [User(client, load.requests(i), reception, began) for i in range(load.streams)]
    await asyncio.gather(*(user.read_one() for user in users))
    reception.seconds = time.perf_counter() - began
    return reception


async def spread(client: AsyncClient, load: Load) -> Reception:
    """Users one by one, each for as long as the load lasts."""
    reception, counts_from = Reception(), time.perf_counter() + load.ramp
    users = [User(client, load.requests(i), reception, counts_from) for i in range(load.streams)]
    reading = [
        asyncio.create_task(user.read_on(load.ramp * i / load.streams)) for i, user in enumerate(users)
    ]
    failed, _ = await asyncio.wait(
        reading, timeout=load.ramp + load.seconds, return_when=asyncio.FIRST_EXCEPTION
    )
    reception.seconds = time.perf_counter() - counts_from
    for task in failed:
        task.result()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    return reception


async def receive(address: str, load: Load) -> Reception:
    """Puts a load on a server."""
    async with AsyncClient(address) as client:
        await client.models()  # connects
        used = time.process_time()
        reception = await (together if load.tokens else spread)(client, load)
        reception.cpu = time.process_time() - used
    return reception


def main() -> None:
    """Runs one load."""
    address, load = sys.argv[1:]
    reception = asyncio.run(receive(address, msgspec.json.decode(load, type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(reception))


if __name__ == "__main__":
    main()

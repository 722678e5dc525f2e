"""A server under load for long: does it keep anything of clients that are gone?

Some readers ask for one text after another all the time. Again and again a crowd comes, more than there are
places, and leaves in the middle, and others talk nonsense. Run with `make soak`; exits with 1 if memory
grows, or if a slot, a thread or a file is left in the end.
"""

import argparse
import asyncio
import gc
import itertools
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from benchmarks.processes import processor
from chaos import nonsense, samples
from chaos.asks import Asks
from chaos.bundles import WORK, make_bundles, sources
from chaos.crowd import Crowds
from chaos.load import pause
from chaos.replicas import Replica
from chaos.samples import Sample
from chaos.verdict import CURVES, Verdict
from charloom.client import AsyncClient, RequestError
from charloom.plot import Curve, Panel, document
from charloom.processor import available_cores

OPTIONS = ("--max-streams", "64", "--max-waiting", "32", "--heartbeat", "1")
"""Few places, so that crowds are refused."""
CALM, PATIENCE = 3.0, 60.0
"""Seconds until clients are gone, and until all that was theirs must be: gRPC lets a thread of its pool go
that was idle for 20."""


@dataclass(frozen=True)
class SoakConfig:
    """How long and how hard."""

    minutes: float = 60.0
    readers: int = 24
    crowd: int = 300
    pause: float = 10.0
    """Seconds between two crowds."""
    samples: int = 600
    """How many are taken, but no more than one a second."""


@dataclass
class Soak:
    """One run."""

    config: SoakConfig
    server: Replica
    asks: Asks
    taken: list[Sample] = field(default_factory=list)
    texts: int = 0
    """That were read to their end."""
    accepted: int = 0
    """Pieces of nonsense that were not refused."""
    talked: int = 0
    """How often all of it was talked."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        chance = random.Random(self.asks.seed)  # noqa: S311
        self.crowds = Crowds(self.server.port, self.asks, self.config.crowd, chance)

    async def run(self) -> None:
        """Warms up, notes what a quiet server holds, puts the load on, and lets it calm down."""
        await self.crowds.come_and_go(self._numbers)
        await self._talk()
        self.before = await self._calm()
        await self._load()
        self.after = await self._settled()

    async def _load(self) -> None:
        """Readers, crowds and nonsense, for so long."""
        async with AsyncClient(self.server.address) as client:
            load = [self._read_on(client) for _ in range(self.config.readers)]
            tasks = [asyncio.create_task(one) for one in (*load, self._disturb(), self._watch())]
            done, _ = await asyncio.wait(
                tasks, timeout=60 * self.config.minutes, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _calm(self) -> Sample:
        """What the server holds once nobody is there."""
        await self.server.idle()
        gc.collect()  # a call of ours that Python still remembers holds its connection to the server
        await asyncio.sleep(CALM)
        return await samples.take(self.server, time.monotonic())

    async def _settled(self) -> Sample:
        """The same after the load: as soon as nothing more is held than before, or once it has had time."""
        deadline = time.monotonic() + PATIENCE
        while (sample := await self._calm()).kept_since(self.before) and time.monotonic() < deadline:
            pass
        return sample

    async def _read_on(self, client: AsyncClient) -> None:
        """Asks for one text after another; whoever is refused comes back."""
        for number in self._numbers:
            ask = self.asks[number]
            try:
                texts = await client.generate(ask.prompt, **ask.arguments).texts()
            except RequestError as error:
                if error.code != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(pause(error))
            else:
                self.texts += len(texts)  # with the await in one line, what others count meanwhile is lost

    async def _disturb(self) -> None:
        """Crowds and nonsense, again and again."""
        while True:
            await self.crowds.come_and_go(self._numbers)
            await self._talk()
            await asyncio.sleep(self.config.pause)

    async def _talk(self) -> None:
        self.accepted += await nonsense.talk(self.server.address)
        self.talked += 1

    async def _watch(self) -> None:
        """Takes samples."""
        began = time.monotonic()
        while True:
            self.taken.append(await samples.take(self.server, began))
            await asyncio.sleep(max(1.0, 60 * self.config.minutes / self.config.samples))

    def verdict(self) -> Verdict:
        """What came of it."""
        return Verdict(
            minutes=self.config.minutes,
            samples=self.taken,
            before=self.before,
            after=self.after,
            texts=self.texts,
            came=self.crowds.came,
            refused=self.crowds.refused,
            unexpected=self.crowds.unexpected,
            nonsense=self.talked * nonsense.PIECES,
            accepted=self.accepted,
            tracebacks=self.server.said.count("Traceback"),
        )


def main() -> None:
    """Prints a verdict as Markdown, and leaves the samples as CSV and SVG under `build/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=SoakConfig.minutes)
    parser.add_argument("--seed", type=int, default=1, help="of what is asked, and of the crowds")
    options = parser.parse_args()
    bundles = make_bundles()
    asks = Asks(options.seed, [bundle.name for bundle in bundles], sources())
    print(f"{processor()}, {available_cores()} cores", flush=True)
    with TemporaryDirectory() as folder:
        server = Replica(bundles, OPTIONS, Path(folder) / "server.log")
        verdict = asyncio.run(soak(SoakConfig(minutes=options.minutes), server, asks))
    samples.write(verdict.samples, WORK / "soak.csv")
    panels = [
        Panel([Curve(said, [(one.seconds, getattr(one, name)) for one in verdict.samples])])
        for name, said in CURVES.items()
    ]
    picture = document(f"{options.minutes:g} minutes of load", panels, "seconds")
    (WORK / "soak.svg").write_text(picture, encoding="utf-8")
    verdict.print()
    print(f"samples: {WORK / 'soak.csv'}, {WORK / 'soak.svg'}")
    sys.exit(any(verdict.failures()))


async def soak(config: SoakConfig, server: Replica, asks: Asks) -> Verdict:
    """Runs one."""
    with server:
        await server.start()
        run = Soak(config, server, asks)
        await run.run()
        return run.verdict()


if __name__ == "__main__":
    main()

"""Soak test: does a server leak memory, slots, threads or files under a long load?

Readers request one text after another all the time. Again and again a crowd comes, larger than the server,
and leaves in mid-text, and malformed requests are sent. Run with `make soak`; exits with 1 if memory grows,
or if a slot, a thread or a file is left in the end.
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
from chaos.bundles import WORK, labels_of, make_bundles, sources
from chaos.crowd import Crowds
from chaos.readers import pause
from chaos.replicas import Replica
from chaos.samples import Sample
from chaos.verdict import CURVES, Verdict
from chaos.workload import Workload
from charloom.client import AsyncClient, RequestError
from charloom.plot import Curve, Panel, document
from charloom.processor import available_cores

OPTIONS = ("--max-streams", "64", "--max-waiting", "32", "--heartbeat", "1")
"""Few slots, so that crowds are refused."""
CALM_SECONDS, RELEASE_SECONDS = 3.0, 60.0
"""Seconds until clients are gone, and until the server must have released all that was theirs: gRPC ends a
thread of its pool after 20 idle ones."""


@dataclass(frozen=True)
class SoakConfig:
    """Length and load of a soak test."""

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
    workload: Workload
    taken: list[Sample] = field(default_factory=list)
    texts: int = 0
    """Texts that were read to their end."""
    accepted: int = 0
    """Malformed requests that were not refused."""
    talked: int = 0
    """How often all malformed requests were sent."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        chance = random.Random(self.workload.seed)  # noqa: S311
        self.crowds = Crowds(self.server.port, self.workload, self.config.crowd, chance)

    async def run(self) -> None:
        """Warms the server up, samples it idle, under load, and idle again."""
        await self.crowds.come_and_go(self._numbers)
        await self._talk()
        self.before = await self._calm()
        await self._load()
        self.after = await self._settled()

    async def _load(self) -> None:
        """Runs readers, crowds and malformed requests for the configured time."""
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
        """A sample of the idle server."""
        await self.server.idle()
        gc.collect()  # a call of ours that Python still remembers holds its connection to the server
        await asyncio.sleep(CALM_SECONDS)
        return await samples.take(self.server, time.monotonic())

    async def _settled(self) -> Sample:
        """A sample after the load: as soon as no more is held than before, or after RELEASE_SECONDS."""
        deadline = time.monotonic() + RELEASE_SECONDS
        while (sample := await self._calm()).kept_since(self.before) and time.monotonic() < deadline:
            pass
        return sample

    async def _read_on(self, client: AsyncClient) -> None:
        """Requests one text after another, and sends a refused request again."""
        for number in self._numbers:
            request = self.workload[number]
            try:
                texts = await client.generate(request.prompt, **request.arguments).texts()
            except RequestError as error:
                if error.code != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(pause(error))
            else:
                self.texts += len(texts)  # with the await in one line, what others count meanwhile is lost

    async def _disturb(self) -> None:
        """Sends crowds and malformed requests, again and again."""
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
        """The verdict on the run."""
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
    workload = Workload(options.seed, labels_of(bundles), sources())
    print(f"{processor()}, {available_cores()} cores", flush=True)
    with TemporaryDirectory() as folder:
        server = Replica(bundles, OPTIONS, Path(folder) / "server.log")
        verdict = asyncio.run(soak(SoakConfig(minutes=options.minutes), server, workload))
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


async def soak(config: SoakConfig, server: Replica, workload: Workload) -> Verdict:
    """Runs one."""
    with server:
        await server.start()
        run = Soak(config, server, workload)
        await run.run()
        return run.verdict()


if __name__ == "__main__":
    main()

"""Chaos test: three servers are killed, stopped and cut off, and no client may notice it in its texts.

Afterwards all texts are compared with those of an undisturbed server, which computes them with another
number of threads and other batches. Run with `make chaos`; exits with 1 if a demand is not met.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import processor
from chaos.bundles import labels_of, make_bundles, sources
from chaos.proxy import Link
from chaos.readers import READERS, Readers
from chaos.replicas import Replica, write_keys
from chaos.report import ChaosReport, Demands
from chaos.storm import Storm, StormConfig
from chaos.workload import Workload
from charloom.client.retries import RetryConfig
from charloom.processor import available_cores
from serving.local import LocalModel

REPLICAS = 3
SERVING = ("--grace", "1", "--heartbeat", "1")
QUIET = ("--threads", "1", "--max-batch", "96")
"""Options of the undisturbed server."""
THIRD_OPINION = 20
"""One request in so many is computed in this process as well."""


@dataclass(frozen=True)
class ChaosConfig:
    """The size of a chaos test."""

    seconds: float
    """For so long at least, and until so many streams are read as are demanded."""
    clients: int
    """Each with connections of its own."""
    demands: Demands
    storm: StormConfig


def main() -> None:
    """Prints a report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, help="at least so many (500; short: 100)")
    parser.add_argument("--seconds", type=float, help="for at least so long (120; short: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked, and of the storm")
    parser.add_argument("--short", action="store_true", help="a fifth of the streams, and of the demands")
    options = parser.parse_args()
    demands = Demands(100, 20, 6, 6) if options.short else Demands()
    config = ChaosConfig(
        seconds=options.seconds or (30.0 if options.short else 120.0),
        clients=6 if options.short else 16,
        demands=demands if options.streams is None else Demands(options.streams, *scaled(options.streams)),
        storm=StormConfig(options.seed, blows=4.0 if options.short else 8.0),
    )
    bundles = make_bundles()
    print(f"{processor()}, {available_cores()} cores; {config.demands}", flush=True)
    with TemporaryDirectory() as folder:
        report = asyncio.run(Chaos(config, bundles, Path(folder)).run())
    report.print()
    sys.exit(any(report.failures()))


def scaled(streams: int) -> tuple[int, int, int]:
    """The other demands for so many streams, in the proportions of the usual ones."""
    usual = Demands()
    share = streams / usual.streams
    return round(usual.interrupted * share), round(usual.by_state * share), round(usual.by_replay * share)


class Chaos:
    """One run."""

    def __init__(self, config: ChaosConfig, bundles: Sequence[Path], folder: Path) -> None:
        self.config = config
        self.bundles = bundles
        self.folder = folder
        self.workload = Workload(config.storm.seed, labels_of(bundles), sources())

    async def run(self) -> ChaosReport:
        """Storm, calm, comparison."""
        keys = self.folder / "keys"
        write_keys(keys)
        with ExitStack() as alive:
            replicas = [
                alive.enter_context(self._replica(str(i), *SERVING, "--state-keys", str(keys)))
                for i in range(REPLICAS)
            ]
            await asyncio.gather(*(replica.start() for replica in replicas))
            began = time.monotonic()
            load, storm = await self._storm(replicas)
            seconds = time.monotonic() - began
            in_use = sum([await replica.idle() for replica in replicas])
        tracebacks = sum(replica.said.count("Traceback") for replica in replicas)
        undisturbed = await self._undisturbed(len(load.received) + len(load.lost))
        texts = [text for received in load.received.values() for text in received.texts]
        return ChaosReport(
            self.config.demands,
            load,
            storm,
            compared=len(texts),
            compared_bytes=sum(len(text.encode()) for text in texts),
            other=[i for i, found in load.received.items() if found != undisturbed.received.get(i)],
            in_process=await asyncio.to_thread(self._third_opinion, undisturbed),
            in_use=in_use,
            tracebacks=tracebacks,
            seconds=seconds,
        )

    def _replica(self, name: str, *options: str) -> Replica:
        return Replica(self.bundles, options, self.folder / f"{name}.log")

    async def _storm(self, replicas: Sequence[Replica]) -> tuple[Readers, Storm]:
        """Reads in a storm, until all is read and every replica runs again."""
        clients = [[await Link(one.port).listen() for one in replicas] for _ in range(self.config.clients)]
        links = [link for of_client in clients for link in of_client]
        storm = Storm(self.config.storm, replicas, links)
        load = Readers(self.workload, self.config.demands.streams, self.config.seconds)
        blowing = asyncio.create_task(storm.blow())
        # Each client begins with another replica.
        turns = [of_one[i % REPLICAS :] + of_one[: i % REPLICAS] for i, of_one in enumerate(clients)]
        await load.run([[link.address for link in of_one] for of_one in turns])
        storm.stop()
        await blowing
        for link in links:
            link.close()
        return load, storm

    async def _undisturbed(self, streams: int) -> Readers:
        """The same requests, to an undisturbed server."""
        load = Readers(self.workload, streams)
        with self._replica("quiet", *QUIET) as quiet:
            await quiet.start()
            await load.run([[quiet.address]] * -(-256 // READERS), RetryConfig(max_attempts=1))
        assert not load.lost, f"the undisturbed server lost texts: {load.lost}"
        return load

    def _third_opinion(self, undisturbed: Readers) -> int:
        """Computes some of the undisturbed texts in this process; all must be the same. Gives how many."""
        models = {bundle.name: LocalModel(bundle) for bundle in self.bundles}
        compared = 0
        for number in sorted(undisturbed.received)[::THIRD_OPINION]:
            request, found = self.workload[number], undisturbed.received[number].texts
            texts = models[request.model].generate(
                request.prompt, n=request.n, labels=request.labels, **request.options
            )
            assert texts == found, f"the undisturbed server and this process differ: {request}"
            compared += len(texts)
        return compared


if __name__ == "__main__":
    main()

"""What a flood of users does to a server that is full: who is refused how soon, and who is slowed down.

A server with N places gives all of them to readers of endless texts. Then 10 N users come within two
seconds; each is refused, waits for as long as the server says, and asks again. Windows with and
without the flood take turns in one run, so a share compares the readers' pace with that of a moment before.
Readers and flood are processes of their own on the same machine. Run with `make bench-overload`.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import msgspec

import charloom.v1.charloom_pb2 as pb
from benchmarks.bundles import ALPHABET, make_bundle, make_run, precisions
from benchmarks.processes import ServerProcess, processor
from benchmarks.table import percentile, print_row
from charloom.client import AsyncClient
from charloom.processor import available_cores, instruction_set
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub

TIMES = 10
"""Users of the flood for each place."""
COMING = 2.0
"""Seconds in which they come."""
ENDLESS = 100_000_000
"""Tokens that no reader waits for."""
PLACES_KEPT = ("--max-waiting", "0", "--max-tokens", str(ENDLESS))


def main() -> None:
    """Prints a table as Markdown; a child process plays its role in what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=64, help="places of the server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one window")
    parser.add_argument("--model", default="512x2", help="CELLSxLAYERS")
    parser.add_argument("--precision", default=precisions()[-1], help="float32 or int8")
    parser.add_argument("--threads", default="", help="of the engine; by default as charloom serve takes")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    parser.add_argument("--role", choices=["read", "flood"], help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.streams, options.rounds, options.seconds, options.model = 8, 1, 1.0, "32x1"
    if options.role:
        asyncio.run(play(options))
    else:
        bench(options)


async def play(options: argparse.Namespace) -> None:
    """What a child process does."""
    if options.role == "read":
        await read(options.address, options.streams)
    else:
        await flood(options.address, options.streams, options.seconds)


def bench(options: argparse.Namespace) -> None:
    """Measures all rounds on one server, and prints what came of them."""
    bundle = make_bundle(make_run(options.model), options.precision)
    print(f"{processor()}, {available_cores()} cores, {instruction_set()}")
    print(f"LSTM {options.model}, {options.precision}; threads of the engine: {options.threads or 'all'};")
    print(f"{options.streams} places; rounds: {options.rounds}\n")
    places = ("--max-streams", str(options.streams), *PLACES_KEPT)
    places += ("--threads", options.threads) if options.threads else ()
    with ServerProcess(bundle, places) as server, reading(server, options.streams):
        rounds = [measure(server, options.streams, options.seconds) for _ in range(options.rounds)]
    print_row("what", "median", "worst")
    print_row("---", "---", "---")
    for what, values, form, worst in figures(rounds):
        print_row(what, format(statistics.median(values), form), format(worst(values), form))


@dataclass
class Flood:
    """What came of a flood; times in seconds."""

    refused: list[float] = field(default_factory=list)
    """How long each refusal took."""
    admitted: int = 0
    """Calls that were let in, against expectation."""
    failed: int = 0
    """Calls that ended otherwise."""
    computed: float = 0.0
    """Processor seconds that the users themselves used."""


@dataclass(frozen=True)
class Round:
    """One window without a flood, and the one with it that followed."""

    calm: float
    """Tokens a second of all readers."""
    flooded: float
    refusals: float
    """A second."""
    late: float
    """Seconds that 99 of 100 refusals do not exceed."""
    middle: float
    others: int
    """Calls of the flood that were not refused."""
    computed: float
    """Processor seconds that the flood took from the server for itself."""


def figures(rounds: list[Round]) -> Iterator[tuple[str, list[float], str, Callable[[list[float]], float]]]:
    """What the table says."""
    yield "readers' pace before, tokens/s", [r.calm for r in rounds], ",.0f", min
    yield "readers' pace under the flood, tokens/s", [r.flooded for r in rounds], ",.0f", min
    yield "share of the pace that is left", [r.flooded / r.calm for r in rounds], ".1%", min
    yield "refusals a second", [r.refusals for r in rounds], ",.0f", min
    yield "time to a refusal, p50, ms", [r.middle * 1e3 for r in rounds], ".1f", max
    yield "time to a refusal, p99, ms", [r.late * 1e3 for r in rounds], ".1f", max
    yield "processor time of the flood's users, s", [r.computed for r in rounds], ".2f", max
    yield "calls of the flood that were not refused", [float(r.others) for r in rounds], ".0f", max


def measure(server: ServerProcess, places: int, seconds: float) -> Round:
    """One round; the flood is a process that waits at its start until it is told to go on."""
    calm = pace(server, seconds)
    words = role("flood", server, TIMES * places, "--seconds", str(seconds + 1))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None, "it was asked for"
        assert process.stdout is not None, "it was asked for"
        process.stdout.readline()  # it is connected
        process.stdin.write(b"\n")
        process.stdin.flush()
        flooded = pace(server, seconds)
        came = msgspec.json.decode(process.stdout.read(), type=Flood)
    ordered = sorted(came.refused)
    return Round(
        calm,
        flooded,
        refusals=len(ordered) / (seconds + 1),
        late=percentile(ordered, 0.99),
        middle=percentile(ordered, 0.5),
        others=came.admitted + came.failed,
        computed=came.computed,
    )


def pace(server: ServerProcess, seconds: float) -> float:
    """Tokens a second that the server makes over some seconds."""
    before, began = server.generated(), time.perf_counter()
    time.sleep(seconds)
    return (server.generated() - before) / (time.perf_counter() - began)


def role(name: str, server: ServerProcess, streams: int, *options: str) -> list[str]:
    """The command line of a child process."""
    words = ["--role", name, "--address", server.address, "--streams", str(streams), *options]
    return [sys.executable, "-m", "benchmarks.overload", *words]


@contextmanager
def reading(server: ServerProcess, streams: int) -> Iterator[None]:
    """Readers, each of whom has a place."""
    with subprocess.Popen(role("read", server, streams)) as process:  # noqa: S603
        try:
            until = time.monotonic() + 60
            while server.active() < streams:
                if time.monotonic() > until:
                    raise RuntimeError(f"only {server.active():.0f} of {streams} readers have a place")
                time.sleep(0.1)
            time.sleep(2)
            yield
        finally:
            process.terminate()


async def read(address: str, streams: int) -> None:
    """Reads endless texts until it is ended."""
    async with AsyncClient(address) as client:

        async def one(seed: int) -> None:
            async for _ in client.generate(ALPHABET[:16], max_tokens=ENDLESS, seed=seed):
                pass

        await asyncio.gather(*map(one, range(streams)))


async def flood(address: str, users: int, seconds: float) -> None:
    """Users who ask again and again, as soon as they may.

    They speak bare gRPC: the less they compute, the less of a reader's lost pace is theirs.
    """
    came = Flood()
    request = pb.GenerateRequest(prompt=ALPHABET[:16], max_tokens=1)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = CharloomServiceStub(channel)
        await stub.ListModels(pb.ListModelsRequest())  # connects
        print(flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        until = time.perf_counter() + seconds
        before = time.process_time()

        async def one(delay: float) -> None:
            await asyncio.sleep(delay)
            while time.perf_counter() < until:
                await asyncio.sleep(await ask(stub, request, came))

        users_come = [asyncio.create_task(one(COMING * i / users)) for i in range(users)]
        await asyncio.wait(users_come, timeout=seconds)
    came.computed = time.process_time() - before
    sys.stdout.buffer.write(msgspec.json.encode(came))


async def ask(stub: CharloomServiceStub, request: pb.GenerateRequest, came: Flood) -> float:
    """Asks once, and gives the seconds that the server would have its user wait."""
    began = time.perf_counter()
    call: Any = stub.Generate(request)  # the stubs' types know blocking calls only
    code = await call.code()
    trailing = dict(await call.trailing_metadata())
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        came.refused.append(time.perf_counter() - began)
        return int(trailing["grpc-retry-pushback-ms"]) / 1000
    if code == grpc.StatusCode.OK:
        came.admitted += 1
    else:
        came.failed += 1
    return 1.0


if __name__ == "__main__":
    main()

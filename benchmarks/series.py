"""How fast a server delivers a series of texts by one call, beside the same from the bundle in this process.

The client is in this process, on the same machine as the server. Both make attempts as `charloom generate
--count` does, of records that end after any token, and only tokens of finished texts count. They take turns
in one run. Run with `make bench-series`.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from benchmarks.bundles import make_bundle, precisions
from benchmarks.offline import make_record_run
from benchmarks.processes import ServerProcess, processor
from benchmarks.table import print_row
from charloom.client import Client
from charloom.options import GenerateOptions
from charloom.processor import available_cores, instruction_set
from serving.commands.remote import RemoteModel
from serving.engine.config import RunnerConfig
from serving.local import LocalModel
from serving.offline.attempt import Attempt
from serving.offline.source import AttemptSource

OPTIONS = GenerateOptions(seed=1, max_tokens=1000)
SETTLE = 3.0
"""Seconds until the bursts of either have their length."""


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="128x2,512x2", help="CELLSxLAYERS, comma-separated")
    parser.add_argument("--batch", type=int, default=256, help="texts at the same time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of either in a round")
    parser.add_argument("--mean", type=int, default=36, help="characters of a record")
    parser.add_argument("--precision", default=precisions()[-1], help="float32 or int8")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.models, options.batch, options.rounds, options.seconds = "32x2", 8, 1, 0.1
    print(f"{processor()}, {available_cores()} cores, {instruction_set()};")
    print(f"thousands of tokens a second, medians of {options.rounds}.\n")
    print_row("LSTM", "precision", "texts at a time", "bundle", "server", "share")
    print_row(*["---"] * 6)
    for size in options.models.split(","):
        bundle = make_bundle(make_record_run(size, options.mean), options.precision)
        with ServerProcess(bundle) as server, Client(server.address) as client:
            local = LocalModel(bundle, RunnerConfig(precision=options.precision))
            local_source = local.attempt_source("", OPTIONS, max_batch=options.batch)
            remote_source = RemoteModel(client, "").attempt_source("", OPTIONS, max_batch=options.batch)
            rates = take_turns([local_source, remote_source], options.rounds, options.seconds)
        from_bundle, from_server, share = rates
        figures = [f"{rate / 1000:.1f}" for rate in (from_bundle, from_server)]
        print_row(size, options.precision, f"{options.batch}", *figures, f"{share:.0%}")


def take_turns(sources: list[AttemptSource], rounds: int, seconds: float) -> tuple[float, float, float]:
    """Measures two sources in turn.

    Returns:
        Tokens a second of each, and the rate of the second as a share of that of the first: medians.
    """
    pairs = []
    for _ in range(rounds):
        first, second = (measured(source, min(SETTLE, seconds), seconds) for source in sources)
        pairs.append((first, second, second / first))
    first, second, share = (statistics.median(column) for column in zip(*pairs, strict=True))
    return first, second, share


def measured(source: AttemptSource, settle: float, seconds: float) -> float:
    """Returns the tokens a second of finished attempts, once the source has settled."""
    with closing(source.attempts(range(2**50))) as attempts:
        count(attempts, settle)
        began = time.perf_counter()
        return count(attempts, seconds) / (time.perf_counter() - began)


def count(attempts: Iterator[Sequence[Attempt]], seconds: float) -> int:
    """Returns the tokens of the attempts that end in so many seconds."""
    until = time.perf_counter() + seconds
    tokens = 0
    while time.perf_counter() < until:
        tokens += sum(attempt.tokens for attempt in next(attempts))
    return tokens


if __name__ == "__main__":
    main()

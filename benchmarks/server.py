"""How fast the server streams: a real server process and a real client process on this machine.

Every figure is the median of several rounds, each with a server of its own. Beside the server's rate
stands that of the bare engine: the same requests, stepped in this process without a server, just
before; a share is of one round. k6 measures the same from the outside. Run with `make bench-server`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks import k6
from benchmarks.bare import bare_rate
from benchmarks.bundles import ALPHABET, make_bundle, make_run, precisions
from benchmarks.load import LONG, SHORT, Load, Reception
from benchmarks.processes import CpuTime, ServerProcess, processor
from benchmarks.table import Column, median, print_table, times
from charloom.processor import available_cores, instruction_set
from serving.engine.config import RunnerConfig
from serving.model import Model

SHORTEST = 300
"""Tokens of a text, at the least: of shorter ones, beginning a call is most of the work."""
MOST_K6_USERS = 256
"""Each of k6's users is a JavaScript machine of some megabytes."""


def main() -> None:
    """Prints tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,16,64,256,1024,4096", help="how many; comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement, about")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch an idle server")
    parser.add_argument("--model", default="512x2", help="CELLSxLAYERS")
    parser.add_argument("--precision", default=precisions()[-1], help="float32 or int8")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.streams, options.rounds, options.seconds, options.idle = "1,8", 1, 0.3, 1.0
        options.model = "32x1"
    counts = [int(count) for count in options.streams.split(",")]
    bundle = make_bundle(make_run(options.model), options.precision)
    bench = Bench(bundle, options.seconds)
    rounds = [bench.round(counts) for _ in range(options.rounds)]
    print(f"{processor()}, {available_cores()} cores, {instruction_set()}")
    print(f"LSTM {options.model}, {options.precision}, {len(ALPHABET)} characters; rounds: {len(rounds)}")
    print("\nAll at the same moment, texts of equal length:\n")
    print_table(COLUMNS | first_token(SHORT), {n: [r[n].together for r in rounds] for n in counts})
    print("\nUsers who come one by one and ask for one text after another, of 20 to 1,000 tokens:\n")
    columns = COLUMNS | first_token(SHORT) | first_token(LONG)
    print_table(columns, {n: [r[n].spread for r in rounds] for n in counts})
    print(f"\nk6, whose users ask for one text after another, of {k6.TOKENS} tokens:\n")
    outside = {n: [seen for r in rounds if (seen := r[n].outside)] for n in counts}
    print_table(K6_COLUMNS, {n: seen for n, seen in outside.items() if seen})
    print(f"\nAn idle server uses {bench.idle(options.idle):.2%} of a core.")


@dataclass(frozen=True)
class Measurement:
    """One load on a server, and the rate at which the bare engine did the same work."""

    bare: float
    """Tokens a second."""
    reception: Reception
    cpu: CpuTime
    burst: float
    """Mean length of a burst in seconds."""
    memory: float
    """The server's largest resident memory in MiB."""

    @property
    def rate(self) -> float:
        """Tokens a second that reached the client."""
        return self.reception.tokens / self.reception.seconds

    def cost(self, seconds: float) -> float:
        """CPU seconds for a million tokens."""
        return seconds / self.reception.all_tokens * 1e6


@dataclass(frozen=True)
class Results:
    """What was measured in one round for one number of streams."""

    together: Measurement
    spread: Measurement
    outside: k6.Outside | None


class Bench:
    """One bundle, in this process and served."""

    def __init__(self, bundle: Path, seconds: float) -> None:
        self.bundle = bundle
        self.seconds = seconds
        self.model = Model.load(bundle, RunnerConfig())
        self._lengths: dict[int, int] = {}

    def round(self, counts: Iterable[int]) -> dict[int, Results]:
        """Every load once, on a fresh server."""
        with ServerProcess(self.bundle) as server:
            return {count: self._measure(server, count) for count in counts}

    def idle(self, seconds: float) -> float:
        """The share of a core that a server uses while nobody calls it."""
        with ServerProcess(self.bundle) as server:
            time.sleep(1)
            used = server.cpu_time()
            time.sleep(seconds)
            return (server.cpu_time() - used).total / seconds

    def _measure(self, server: ServerProcess, streams: int) -> Results:
        if streams not in self._lengths:
            self._lengths[streams] = self._length(streams)
        together = Load(streams, self._lengths[streams], alphabet=ALPHABET)
        spread = Load(streams, tokens=0, seconds=self.seconds, alphabet=ALPHABET)
        return Results(
            self._compare(server, together),
            self._compare(server, spread),
            k6.run(server.address, streams, self.seconds, ALPHABET[:SHORT])
            if streams <= MOST_K6_USERS and k6.program()
            else None,
        )

    def _length(self, streams: int) -> int:
        """Tokens of a text that keep the engine busy for about as long as a measurement is to take."""
        rate = bare_rate(self.model, Load(streams, tokens=100, alphabet=ALPHABET))
        return max(SHORTEST, round(rate * self.seconds / streams))

    def _compare(self, server: ServerProcess, load: Load) -> Measurement:
        """One load on the bare engine, then on the server."""
        bare = bare_rate(self.model, load)
        used = server.cpu_time()
        reception, memory, (bursts, seconds) = receive(server, load)
        used, (bursts_after, seconds_after) = server.cpu_time() - used, server.bursts()
        burst = (seconds_after - seconds) / (bursts_after - bursts)
        return Measurement(bare, reception, used, burst, memory)


def receive(server: ServerProcess, load: Load) -> tuple[Reception, float, tuple[float, float]]:
    """Has a client process put a load on a server.

    Gives also the server's largest memory, in MiB, and how many bursts there were, of how many seconds
    together, before the client began to count.
    """
    words = [sys.executable, "-m", "benchmarks.load", server.address, msgspec.json.encode(load).decode()]
    memory, before = server.memory(), server.bursts()
    counts_from = time.monotonic() + (0.0 if load.tokens else load.ramp)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as client:  # noqa: S603
        while True:
            try:
                output, _ = client.communicate(timeout=0.1)
                return msgspec.json.decode(output, type=Reception), memory, before
            except subprocess.TimeoutExpired:
                memory = max(memory, server.memory())
                if time.monotonic() < counts_from:
                    before = server.bursts()


COLUMNS: dict[str, Column[Measurement]] = {
    "bare engine, tokens/s": median(lambda m: m.bare),
    "server, tokens/s": median(lambda m: m.rate),
    "share": median(lambda m: m.rate / m.bare, ".0%"),
    "tokens a message": median(lambda m: m.reception.tokens / m.reception.messages),
    "burst, ms": median(lambda m: m.burst * 1e3),
    "between messages, ms": times(lambda m: m.reception.between),
    "CPU s per million tokens: loop": median(lambda m: m.cost(m.cpu.loop), ".1f"),
    "engine": median(lambda m: m.cost(m.cpu.engine), ".1f"),
    "client": median(lambda m: m.cost(m.reception.cpu), ".1f"),
    "server's MiB": median(lambda m: m.memory),
}
K6_COLUMNS: dict[str, Column[k6.Outside]] = {
    "server, tokens/s": median(lambda o: o.rate),
    "first token, ms (p50)": median(lambda o: o.first[0] * 1e3),
    "p99": median(lambda o: o.first[1] * 1e3),
}


def first_token(prompt: int) -> dict[str, Column[Measurement]]:
    """The column of first tokens after prompts of some length."""
    return {f"first token after {prompt:,} characters, ms": times(lambda m: m.reception.first_after[prompt])}


if __name__ == "__main__":
    main()

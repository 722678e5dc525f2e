"""How fast records are delivered into a file, beside the runner's bare bursts at the same batch.

Delivered are the tokens of records that the file holds, their ends included; all that is computed beyond
them, judging, hashing and writing come off. The bare bursts sample without an end, as many steps each as
the best of several lengths, over the same slots. Both are measured in turn in one run. Run with
`make bench-offline`.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.bundles import ALPHABET, WORK, charloom, make_bundle, precisions
from benchmarks.processes import processor
from benchmarks.race import Call, race
from benchmarks.table import print_row
from charloom.burst import INPUTS, neutral
from charloom.options import GenerateOptions
from charloom.philox import uniforms
from charloom.processor import available_cores, instruction_set
from serving.engine.config import RunnerConfig
from serving.engine.host_runner import HostRunner
from serving.local import LocalModel
from serving.offline.attempt import Attempt
from serving.offline.doubles import Doubles
from serving.offline.formats import format_of
from serving.offline.judge import Judge
from serving.offline.local_source import LocalSource
from serving.offline.tally import Fate

LENGTHS = (16, 32, 64)
"""Steps of the bare bursts; the fastest counts."""
BLOCK = 256
"""Attempts that are judged and written between two looks at the clock."""
SETTLE = 40
"""Such blocks before anything is timed."""


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="128x2,512x2", help="CELLSxLAYERS, comma-separated")
    parser.add_argument("--batches", default="64,256", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one variant in a round")
    parser.add_argument("--mean", type=int, default=36, help="characters of a record")
    parser.add_argument("--threads", type=int, default=0, help="0 takes one for each core")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.models, options.batches, options.rounds, options.seconds = "32x2", "8", 1, 0.05
    print(f"{processor()}, {available_cores()} cores, {instruction_set()};")
    print(f"thousands of tokens a second, medians of {options.rounds}.\n")
    print_row("LSTM", "precision", "batch", "delivered", "bare bursts", "share", "wasted")
    print_row(*["---"] * 7)
    for size in options.models.split(","):
        bundle = make_bundle(make_record_run(size, options.mean), *precisions())
        for precision in precisions():
            model = LocalModel(bundle, RunnerConfig("cpu", precision, options.threads))
            for batch in map(int, options.batches.split(",")):
                report(size, model, batch, options.rounds, options.seconds)


def report(size: str, model: LocalModel, batch: int, rounds: int, seconds: float) -> None:
    """Prints the row of one model at one batch."""
    with tempfile.TemporaryDirectory() as folder:
        delivery = Delivery(model, batch, Path(folder))
        bare = {f"bare {steps}": bare_bursts(model, batch, steps) for steps in LENGTHS}
        rates = race({"delivered": delivery, **bare}, rounds, seconds)
    fastest = max(rates[name] for name in bare)
    share = rates["delivered"] / fastest
    thousands = [f"{rate / 1000:.1f}" for rate in (rates["delivered"], fastest)]
    precision = model.model.executor.precision
    print_row(size, precision, f"{batch:,}", *thousands, f"{share:.0%}", f"{delivery.wasted:.0%}")


class Delivery:
    """Records on their way into a file; a call delivers a block of them, and gives their tokens."""

    def __init__(self, model: LocalModel, batch: int, folder: Path) -> None:
        options = GenerateOptions(seed=1, max_tokens=1000)
        self.source: LocalSource = model.attempt_source("", options, max_batch=batch)
        self.attempts = self._each()
        self.format = format_of(".jsonl", "")
        self.judge = Judge(self.format, Doubles(folder / "doubles"))
        self.file = (folder / "records").open("wb")
        self.tokens = 0
        for _ in range(SETTLE):
            self()

    def __call__(self) -> int:
        """Delivers a block."""
        judged = self.judge.judge(list(islice(self.attempts, BLOCK)))
        kept = [one.attempt for one in judged if one.fate is Fate.DELIVERED]
        self.file.writelines(self.format.encode(attempt.text) for attempt in kept)
        tokens = sum(attempt.tokens for attempt in kept)
        self.tokens += tokens
        return tokens

    @property
    def wasted(self) -> float:
        """The share of the computed tokens that no record has."""
        return 1 - self.tokens / self.source.computed

    def _each(self) -> Iterator[Attempt]:
        for attempts in self.source.attempts(range(2**53)):
            yield from attempts


def bare_bursts(model: LocalModel, batch: int, steps: int) -> Call:
    """Bursts of a runner over the same slots again and again, with new random numbers each."""
    runner = HostRunner(model.model.executor, batch)
    slots = list(range(batch))
    for slot in slots:
        runner.reset(slot)
    size = model.model.bundle.vocabulary.size
    feeds = neutral(INPUTS["plain"], B=batch, K=steps, V=size)
    feeds["last"][:] = model.model.bundle.vocabulary.start
    return partial(burst, runner, feeds, slots)


def burst(runner: HostRunner, feeds: dict[str, np.ndarray], slots: list[int]) -> int:
    """One burst."""
    steps, rows = feeds["forced"].shape
    feeds["uniform"] = uniforms(np.arange(rows), np.zeros(rows), steps)
    feeds["last"] = runner.run("plain", feeds, slots)["chosen"][-1]
    return int(steps * rows)


def make_record_run(size: str, mean: int) -> Path:
    """A run of an LSTM of CELLSxLAYERS on records that end by chance, after so many characters on average."""
    cells, layers = size.split("x")
    draw = random.Random(0)  # noqa: S311
    characters = draw.choices(ALPHABET[:-1] + "\n", [1] * 64 + [64 / mean], k=200_000)
    text, run = WORK / "records.txt", WORK / f"run-records-{size}"
    WORK.mkdir(parents=True, exist_ok=True)
    text.write_text("".join(characters), encoding="utf-8")
    options = ("--cells", cells, "--layers", layers, "--epochs", 1, "--records", "lines", "--overwrite")
    charloom("train", text, "--out", run, *options)
    return run


if __name__ == "__main__":
    main()

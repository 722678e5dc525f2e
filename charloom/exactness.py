"""Promise 1, checked: a stream's bits do not depend on what runs beside it, or how.

Whoever can run a burst hands in a function; this file says which bursts must agree and finds the
smallest batch from which on they do. It knows no runtime: an export calls it to vouch for a
bundle, and a server calls it as it loads one, for its own hardware.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from charloom.burst import (
    FULL_INPUTS,
    FULL_OUTPUTS,
    INPUTS,
    PLAIN_INPUTS,
    READ_INPUTS,
    Feeds,
    GraphKind,
    StateSpec,
    neutral,
    pad,
    take,
)
from charloom.errors import CharloomError
from charloom.vocabulary import Tokens

Run = Callable[[GraphKind, Feeds], Feeds]
"""Runs one burst on the named graph."""

STEPS = 8
LARGEST = 256
"""Rows of the largest batch tried, where nobody runs larger ones."""
SIZES = (*range(1, 18), 23, 24, 31, 32, 33, 47, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256)
"""Batch sizes tried up to the largest: around the blocks and remainders of matrix kernels."""
MAX_PADDING = 64
"""On a CPU, a batch padded further would cost single streams too much: the check fails instead."""


class ExactnessError(CharloomError):
    """Two bursts that must agree bit for bit do not."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not exact to the bit: {what}")


@dataclass(frozen=True)
class Exactness:
    """What was found to hold, and the smallest batch it holds for."""

    padding: int
    held: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What is checked: how to run it, and the sizes that its feeds need."""

    run: Run
    vocabulary_size: int
    start: int
    state: tuple[StateSpec, ...]
    others: Mapping[str, Run] = field(default_factory=dict)
    """Other ways to run the same bundle that must agree, by what they differ in."""
    largest: int = LARGEST
    """Rows of the largest batch that will run."""
    max_padding: int = MAX_PADDING
    """Padding that can be afforded: a GPU runs a large batch about as fast as a small one."""


def check(subject: Subject, text: Tokens, *, seed: int = 0) -> Exactness:
    """Finds the padding and checks that, with it, every equality of promise 1 holds.

    Args:
        subject: the bundle as it is run here.
        text: token ids [T] of real text, read by some of the rows.
        seed: makes the rows of the check.

    Raises:
        ExactnessError: an equality does not hold; the message says which.
    """
    feeds = probe(subject, text, np.random.default_rng(seed))
    padding = find_padding(subject, feeds)

    def run(kind: GraphKind, burst: Feeds, by: Run = subject.run) -> Feeds:
        rows = len(burst["last"])
        specs = INPUTS[kind]
        return take_rows(by(kind, pad(burst, specs, padding)), np.arange(rows))

    whole = run("plain", feeds)
    order = np.random.default_rng(seed).permutation(subject.largest)
    shuffled = run("plain", take(feeds, PLAIN_INPUTS, order))
    expect("row order", shuffled, take_rows(whole, order))
    expect("a burst split in two", run_split(run, feeds, subject), whole)
    all_read = feeds | {"forced_len": np.full(subject.largest, STEPS)}
    only_read = {name: feeds[name] for name in read_names(subject)}
    reading = run("read", only_read)
    expect("reading without scores", run("plain", all_read), reading)
    mixed, plain = mix(feeds, subject)
    company = run("full", mixed)
    beside = take_rows({name: company[name] for name in whole}, plain)
    expect("a plain row beside filtered ones", beside, take_rows(whole, plain))
    for size in (1, 2, 17):
        rows = np.arange(min(size, subject.largest))
        expect(
            "the company of a filtered row",
            run("full", take(mixed, FULL_INPUTS, rows)),
            take_rows(company, rows),
        )
    for name, other in subject.others.items():
        expect(name, run("full", mixed, other), company)
        expect(name, run("read", only_read, other), reading)
    held = (
        "batch size",
        "row order",
        "split bursts",
        "reading",
        "filtered neighbours",
        *subject.others,
    )
    return Exactness(padding, held)


def probe(subject: Subject, text: Tokens, random: np.random.Generator) -> Feeds:
    """A plain burst of the largest size whose rows read and sample, each from another step on."""
    rows = subject.largest
    feeds = neutral(PLAIN_INPUTS, B=rows, K=STEPS)
    starts = random.integers(0, max(1, len(text) - STEPS), rows)
    feeds["forced"][:] = text[(starts + np.arange(STEPS)[:, None]) % len(text)]
    feeds["last"][:] = subject.start
    feeds["forced_len"][:] = random.integers(0, STEPS + 1, rows)
    feeds["uniform"][:] = random.integers(0, 2**24, (STEPS, rows)) * np.float32(2.0**-24)
    feeds["temperature"][:] = random.choice(np.array([0, 0.5, 1, 1.5], np.float32), rows)
    return feeds | {spec.name: spec.initial_rows(rows) for spec in subject.state}


def find_padding(subject: Subject, feeds: Feeds) -> int:
    """The smallest batch size from which on every size gives the bits of the largest, in every way."""
    runs = (subject.run, *subject.others.values())
    whole = subject.run("plain", feeds)
    for name, other in subject.others.items():
        expect(name, other("plain", feeds), whole)
    padding = subject.largest
    for size in sorted((size for size in SIZES if size < subject.largest), reverse=True):
        rows = np.arange(size)
        few, expected = take(feeds, PLAIN_INPUTS, rows), take_rows(whole, rows)
        if not all(same(run("plain", few), expected) for run in runs):
            break
        padding = size
    if padding > subject.max_padding:
        raise ExactnessError(f"batches under {padding} rows differ from larger ones")
    return padding


def run_split(run: Run, feeds: Feeds, subject: Subject) -> Feeds:
    """The burst as two shorter ones, the second going on from the state after the first."""
    cut = STEPS // 2 - 1
    per_step = [spec.name for spec in PLAIN_INPUTS if spec.dims[0] == "K"]
    parts = [dict(feeds), dict(feeds)]
    for name in per_step:
        parts[0][name], parts[1][name] = feeds[name][:cut], feeds[name][cut:]
    parts[1]["forced_len"] = (feeds["forced_len"] - cut).clip(min=0)
    first = run("plain", parts[0])
    parts[1]["last"] = first["chosen"][-1]
    parts[1] |= {spec.name: first[spec.output] for spec in subject.state}
    second = run("plain", parts[1])
    return second | {"chosen": np.concatenate([first["chosen"], second["chosen"]])}


def read_names(subject: Subject) -> list[str]:
    """What a reading burst takes."""
    return [*(spec.name for spec in READ_INPUTS), *(spec.name for spec in subject.state)]


def mix(feeds: Feeds, subject: Subject) -> tuple[Feeds, npt.NDArray[np.int64]]:
    """The burst with samplers on in every other row, each in half of those; and the rows that stay plain."""
    rows = subject.largest
    random = np.random.default_rng(rows)
    full = neutral(FULL_INPUTS, B=rows, K=STEPS, V=subject.vocabulary_size, W=4, N=2) | feeds
    filtered = np.arange(rows) % 2 == 1
    full["steps"][:] = STEPS
    full["steps"][filtered] = np.arange(filtered.sum()) % (STEPS + 1)

    def some() -> npt.NDArray[np.int64]:
        return np.flatnonzero(filtered & (random.random(rows) < 0.5))

    full["top_k"][some()] = 5
    full["min_p"][some()] = 0.05
    full["typical_p"][some()] = 0.95
    full["top_p"][some()] = 0.9
    full["alternatives"][some()] = True
    full["recent"][filtered] = feeds["forced"][:4].T[filtered]
    full["window"][some()] = 3
    full["repetition_penalty"][filtered] = 1.3
    full["presence_penalty"][filtered] = 0.5
    full["bias_value"][some()] = 1.0
    full["bias_until"][filtered] = STEPS
    full["allowed"][some(), ::3] = False
    full["allowed"][:, -1] = True
    return full, np.flatnonzero(~filtered)


def take_rows(outputs: Feeds, rows: npt.NDArray[np.int64]) -> Feeds:
    """The outputs of these rows."""
    return take(outputs, FULL_OUTPUTS, rows)


def bits(array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array, with minus zero as zero: a conditional may drop its sign, and no sum minds."""
    return np.where(array == 0, array.dtype.type(0), array).tobytes()


def same(one: Feeds, other: Feeds) -> bool:
    """Whether two bursts gave the same bytes."""
    return all(bits(one[name]) == bits(other[name]) for name in other)


def expect(what: str, one: Feeds, other: Feeds) -> None:
    """Raises unless two bursts gave the same bytes."""
    if not same(one, other):
        differing = ", ".join(name for name in other if bits(one[name]) != bits(other[name]))
        raise ExactnessError(f"{what} changes {differing}")

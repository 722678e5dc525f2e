"""Batch invariance (promise 1) as a check: a stream's bits do not depend on the batch that it runs in.

The check runs bursts that must agree bit for bit, and finds the smallest batch size from which on they do.
An export runs it to verify a bundle; a server runs it as it loads one, for its own hardware. The term is
that of vLLM and of He et al. 2025, "Defeating nondeterminism in LLM inference".
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
"""Runs one burst on the graph of a kind: feeds to outputs, arrays by name."""

STEPS = 8
STEPS_PER_SIZE = 3
"""Steps of the bursts that run in every size. Each step runs the same kernels; the first, from the initial
state, multiplies zeros."""
LARGEST = 256
"""Rows of the largest batch tried, unless larger ones will run."""
SIZES = (*range(1, 18), 23, 24, 31, 32, 33, 47, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256)
"""Batch sizes tried, up to the largest: around the block sizes of matrix kernels."""
MAX_PADDING = 64
"""Largest padding on a CPU: with more, single streams would be too slow, so the check fails instead."""


class BatchInvarianceError(CharloomError):
    """Two bursts that must agree bit for bit differ."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not exact to the bit: {what}")


@dataclass(frozen=True)
class BatchInvariance:
    """The result of the check."""

    padding: int
    """Rows of the smallest batch from which on it holds; smaller ones are padded to it."""
    held: tuple[str, ...]
    """What the bits were found not to depend on, in words."""


@dataclass(frozen=True)
class Subject:
    """A bundle to check: how its bursts are run, and the sizes of its feeds."""

    run: Run
    vocabulary_size: int
    start: int
    state: tuple[StateSpec, ...]
    others: Mapping[str, Run] = field(default_factory=dict)
    """Other variants of running it that must agree, by what they differ in."""
    largest: int = LARGEST
    """Rows of the largest batch that will run."""
    max_padding: int = MAX_PADDING
    """Largest padding: more on a GPU, which runs a large batch about as fast as a small one."""


def check(subject: Subject, text: Tokens, *, seed: int = 0) -> BatchInvariance:
    """Finds the padding, and checks that batch invariance holds with it.

    Args:
        subject: the bundle, as it is run here.
        text: token ids [T] of real text, which some of the rows read.
        seed: seeds the rows of the check.

    Raises:
        BatchInvarianceError: an equality does not hold; the message says which.
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
    return BatchInvariance(padding, held)


def probe(subject: Subject, text: Tokens, random: np.random.Generator) -> Feeds:
    """The feeds of a plain burst of the largest size; each row samples from a step of its own on."""
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
    """The smallest batch size from which on every size gives the bits of the largest, in every variant."""
    runs = (subject.run, *subject.others.values())
    feeds = cut_steps(feeds, 0, STEPS_PER_SIZE)
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
        raise BatchInvarianceError(f"batches under {padding} rows differ from larger ones")
    return padding


def run_split(run: Run, feeds: Feeds, subject: Subject) -> Feeds:
    """The outputs of the burst as two shorter ones, the second from the state after the first."""
    cut = STEPS // 2 - 1
    first = run("plain", cut_steps(feeds, 0, cut))
    after = {spec.name: first[spec.output] for spec in subject.state} | {"last": first["chosen"][-1]}
    second = run("plain", cut_steps(feeds, cut, STEPS) | after)
    return second | {"chosen": np.concatenate([first["chosen"], second["chosen"]])}


def cut_steps(feeds: Feeds, begin: int, end: int) -> Feeds:
    """The feeds of some steps of a plain burst."""
    per_step = [spec.name for spec in PLAIN_INPUTS if spec.dims[0] == "K"]
    forced = (feeds["forced_len"] - begin).clip(0, end - begin)
    return feeds | {name: feeds[name][begin:end] for name in per_step} | {"forced_len": forced}


def read_names(subject: Subject) -> list[str]:
    """Names of the feeds of a reading burst."""
    return [*(spec.name for spec in READ_INPUTS), *(spec.name for spec in subject.state)]


def mix(feeds: Feeds, subject: Subject) -> tuple[Feeds, npt.NDArray[np.int64]]:
    """The feeds with each sampler in some of every other row, and the indices of the plain rows."""
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
    """The bytes of an array, with minus zero as zero: conditionals drop its sign, and sums do not change."""
    return np.where(array == 0, array.dtype.type(0), array).tobytes()


def same(one: Feeds, other: Feeds) -> bool:
    """Whether two bursts gave the same bytes."""
    return all(bits(one[name]) == bits(other[name]) for name in other)


def expect(what: str, one: Feeds, other: Feeds) -> None:
    """Raises BatchInvarianceError unless two bursts gave the same bytes."""
    if not same(one, other):
        differing = ", ".join(name for name in other if bits(one[name]) != bits(other[name]))
        raise BatchInvarianceError(f"{what} changes {differing}")

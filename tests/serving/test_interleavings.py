"""Promise 1 at random: whoever joins, leaves or gives up beside a stream, its bytes are those it gets alone.

The guests of tests/serving/test_independence.py in many more scripts than hypothesis would make. Each
script is made by its number, so that the one that fails can be run again. `make test` runs a few,
`make interleavings` ten thousand in each precision.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind, take
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.executor import Executor
from serving.engine.host_runner import HostRunner
from serving.engine.request import Request
from serving.engine.scheduler import StepCost
from serving.engine.slots import Slots
from serving.engine.strategies import Strategy
from serving.engine.stream import Stream
from serving.engine.update import Update
from serving.model import Model
from tests.conftest import needs_int8
from tests.serving.conftest import LARGEST, LoadOnce
from tests.serving.records import LABELLED, record_model
from tests.serving.test_independence import FILTERS, PROMPTS, Guest, Outcome, outcome, outcome_alone

NUMBERS = {"float32": "0:5", "int8": "5:10", "records": "10:14"}
"""Those to run, unless CHARLOOM_INTERLEAVINGS says which: from the first to before the last. The engine does
not know in which precision it runs, so that each has others; records are those of a model with labels."""
NEWS = 500
"""Interleavings from one line of progress to the next."""
GUESTS = 300
MOST_STREAMS = LARGEST


@dataclass(frozen=True)
class Known:
    """A guest, and what each of its texts is to the byte when it has an engine to itself."""

    guest: Guest
    request: Request
    model: Model

    @cached_property
    def alone(self) -> tuple[Outcome, ...]:
        return tuple(outcome_alone(self.model, self.guest, index) for index in range(self.guest.n))


class OneStrategy:
    """Runs all bursts by one strategy."""

    def __init__(self, executor: Executor, strategy: Strategy) -> None:
        self.state = executor.state
        self.execution_class = executor.execution_class
        self.run = partial(executor.run_by, strategy)


@dataclass(frozen=True)
class Scene:
    """A model, functions that run it and must not differ, and who may come."""

    model: Model
    functions: tuple[Executor | OneStrategy, ...]
    guests: tuple[Known, ...]


@pytest.fixture(scope="module", params=["float32", pytest.param("int8", marks=needs_int8), "records"])
def scene(load_once: LoadOnce, bundle_dir: Path, request: pytest.FixtureRequest) -> Scene:
    """On one thread, and on two by every strategy."""
    if request.param == "records":
        alone, model = (record_model(LABELLED, threads=threads) for threads in (1, 2))
    else:
        alone, model = (load_once(bundle_dir, request.param, threads) for threads in (1, 2))
    others = (OneStrategy(model.executor, strategy) for strategy in model.executor.strategies)
    functions = (alone.executor, *others)
    assert len({str(function.execution_class) for function in functions}) == 1
    random = Random(GUESTS)
    guests = (random_guest(random) for _ in range(GUESTS))
    return Scene(alone, functions, tuple(Known(guest, guest.request(alone), alone) for guest in guests))


def random_guest(random: Random) -> Guest:
    """Any prompt and options; samplers none, few or many."""
    options: dict[str, Any] = {"max_tokens": random.randint(1, 24), "seed": random.getrandbits(64)}
    if random.random() < 0.7:
        options["temperature"] = random.choice([0, 0.7, 1.3, (0.2, 1.5, 1)])
    if random.random() < 0.3:
        options["stop"] = random.choice(["e ", ("the", "an")])
    share = random.choice([0, 0, 0.1, 0.4])
    return Guest(
        prompt=random.choice(PROMPTS),
        options=options,
        filters={name: random.choice(values) for name, values in FILTERS.items() if random.random() < share},
        n=random.choice([1, 1, 1, 2, 3]),
        logprobs=random.choice([None, None, None, 0, 3, 20]),
        arrives=0,
        stays=None,
        cancels=0,
    )


class Shuffling:
    """Runs the rows of every burst in another order."""

    def __init__(self, function: Executor | OneStrategy, random: Random) -> None:
        self.function = function
        self.state = function.state
        self.random = random

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        rows = len(feeds["last"])
        order = np.array(self.random.sample(range(rows), rows))
        outputs = self.function.run(kind, take(feeds, INPUTS[kind], order))
        return take(outputs, FULL_OUTPUTS, np.argsort(order))


class RandomCost(StepCost):
    """Takes a step to cost anything, so that bursts have any length."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random

    def learn(self, rows: int, steps: int, elapsed: float) -> None:
        pass

    def estimate(self, rows: int) -> float:
        return 10 ** self.random.uniform(-5, -1)


@dataclass(frozen=True)
class Visit:
    """A guest that comes before some step, and may leave before a later one."""

    known: Known
    arrives: int
    leaves: int | None
    cancels: int
    """Which of its texts it gives up; 3 for all."""


def random_visits(random: Random, guests: tuple[Known, ...]) -> Iterator[Visit]:
    """Guests of no more than MOST_STREAMS texts."""
    left = random.randint(1, MOST_STREAMS)
    while left > 0:
        guest = random.choice(guests)
        left -= guest.guest.n
        if left < 0:
            return
        arrives = random.choice([0, 0, 0, 1, 2, 3, 5, 8])
        leaves = arrives + random.randint(0, 6) if random.random() < 0.15 else None
        yield Visit(guest, arrives, leaves, random.randint(0, 3))


def random_engine(random: Random, scene: Scene) -> Engine:
    """One of as much room, in as large batches and as long bursts as may be."""
    config = SchedulerConfig(
        max_streams=random.choice([1, 5, 16, 64, 64, 64]),
        max_batch=random.choice([2, 7, 32, 256, 256]),
        max_waiting=MOST_STREAMS,
        max_burst=random.choice([1, 3, 8, 32]),
        latency_budget=9,
        buffer_tokens=random.choice([1, 6, 1024]),
    )
    shuffling = Shuffling(random.choice(scene.functions), random)
    runner = HostRunner(shuffling, Slots.needed(config.max_streams))
    engine = Engine(runner, scene.model.bundle.vocabulary, config)
    engine.scheduler.cost = RandomCost(random)
    return engine


def interleave(number: int, scene: Scene) -> Counter[str]:
    """Runs one script and compares every stream with what it is alone; gives what there was of each thing."""
    random = Random(number)
    engine = random_engine(random, scene)
    visits = list(random_visits(random, scene.guests))
    last_arrival = max((visit.arrives for visit in visits), default=0)
    streams: dict[Stream, tuple[Visit, int]] = {}
    updates: dict[Stream, list[Update]] = defaultdict(list)
    seen: Counter[str] = Counter()
    step = 0
    while step <= last_arrival or not engine.empty:
        for visit in visits:
            if visit.arrives == step:
                texts = engine.submit_texts(visit.known.request, visit.known.guest.n)
                streams |= {stream: (visit, index) for index, stream in enumerate(texts)}
        for stream, (visit, index) in streams.items():
            if visit.leaves == step and visit.cancels in (index, 3):
                engine.abort(stream)
        report = engine.step()
        seen += Counter(bursts=report.steps > 0, tokens=report.read + report.generated)
        for update in report.updates:
            assert update.error is None, number
            updates[update.stream].append(update)
        for stream in streams:
            if random.random() < 0.8:  # else its reader dawdles
                stream.consumed = stream.released
        step += 1
    assert engine.slots.used == engine.waiting == 0, number
    for stream, (visit, index) in streams.items():
        found, alone = outcome(updates[stream]), visit.known.alone[index]
        agrees = found.begins(alone) if stream.aborted else found == alone
        assert agrees, f"interleaving {number}: {visit.known.guest}, text {index}"
    return seen + Counter(streams=len(streams), cancelled=sum(stream.aborted for stream in streams))


@pytest.mark.timeout(0)
def test_no_interleaving_changes_a_byte(scene: Scene) -> None:
    name = "records" if scene.model.bundle.vocabulary.end is not None else scene.model.executor.precision
    numbers = range(*map(int, os.environ.get("CHARLOOM_INTERLEAVINGS", NUMBERS[name]).split(":")))
    seen: Counter[str] = Counter()
    for done, number in enumerate(numbers, 1):
        seen += interleave(number, scene)
        if done % NEWS == 0 or done == len(numbers):
            print(f"{name}: {done} of {len(numbers)} interleavings, of {seen['streams']} streams "
                  f"({seen['cancelled']} given up), {seen['bursts']} bursts, {seen['tokens']} tokens; "
                  "all as alone", flush=True)  # fmt: skip
    assert min(seen[what] for what in ("streams", "cancelled", "bursts", "tokens")) > 0

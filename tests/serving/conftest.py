"""What the tests of serving share: models, numbers of cases, and fakes for the engine.

The fake is a runner of known tokens over the letters of the alphabet.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

from charloom.burst import OUTPUTS, Feeds, GraphKind
from charloom.execution_class import Precision
from charloom.vocabulary import CharacterVocabulary, Tokens
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request
from serving.engine.runner import RunError, Runner
from serving.engine.scheduler import StepCost
from serving.engine.slots import Slots
from serving.engine.snapshot import State
from serving.model import Model

LARGEST = 64
"""Rows of the largest batch that these tests run."""


def in_two_lengths(few: int, many: int) -> pytest.MarkDecorator:
    """Tells a test how many cases hypothesis draws for it: few in `make test`, many in `make test-all`."""
    return pytest.mark.parametrize("cases", [few, pytest.param(many, marks=pytest.mark.slow)])


LoadOnce = Callable[..., Model]


@pytest.fixture(scope="session")
def load_once() -> LoadOnce:
    """Loads models that tests share: load_once(path, precision, threads=1). No test may change them."""

    @cache
    def load(path: Path, precision: Precision, threads: int = 1) -> Model:
        return Model.load(path, RunnerConfig("cpu", precision, threads), LARGEST)

    return load


class AlphabetRunner:
    """Generates the letter after the last one; the state of a slot counts the steps it has run.

    It fails every burst in which a row reads the token `poison`, and every one over a slot that was not set.
    """

    def __init__(self, poison: int | None = None, streams: int = 32) -> None:
        self.poison = poison
        self.capacity = Slots.needed(streams)
        self.steps_run: dict[int, int] = {}  # by slot
        self.bursts: list[tuple[int, int]] = []  # (B, K) of every call

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        length, rows = feeds["forced"].shape
        self.bursts.append((rows, length))
        if self.poison is not None and (feeds["forced"] == self.poison).any():
            raise RunError("poisoned")
        assert len(slots) == len(set(slots)) == rows
        last, steps_run = feeds["last"].copy(), np.array([self.steps_run[slot] for slot in slots])
        chosen = np.zeros((length, rows), np.int64)
        for step in range(length):
            forced_len = length if kind == "read" else feeds["forced_len"]
            following = np.where(step < forced_len, feeds["forced"][step], self.next(last, steps_run))
            running = step < feeds.get("steps", np.full(rows, length))
            last = np.where(running, following, last)
            steps_run += running
            chosen[step] = last
        self.steps_run |= dict(zip(slots, steps_run.tolist(), strict=True))
        outputs = {"chosen": chosen, "logprob": -(chosen.astype(np.float32))}
        names = {spec.name for spec in OUTPUTS[kind]}
        return {name: array for name, array in outputs.items() if name in names}

    def next(self, last: Tokens, steps_run: Tokens) -> Tokens:
        """What rows [B] generate."""
        return (last + 1) % 26

    def reset(self, slot: int) -> None:
        self.steps_run[slot] = 0

    def snapshot(self, slot: int) -> State:
        return {"steps_run": np.array([[self.steps_run[slot]]])}

    def restore(self, slot: int, state: State) -> None:
        self.steps_run[slot] = int(state["steps_run"][0, 0])

    def copy(self, source: int, target: int) -> None:
        self.steps_run[target] = self.steps_run[source]


class WrappedRunner:
    """A runner that leaves all but its bursts to another one."""

    def __init__(self, inner: Runner) -> None:
        self.inner = inner
        self.capacity = inner.capacity
        self.reset, self.snapshot = inner.reset, inner.snapshot
        self.restore, self.copy = inner.restore, inner.copy


class NoCost(StepCost):
    """Steps take no time, so that a machine which is slow for a moment does not shorten bursts."""

    def learn(self, rows: int, steps: int, elapsed: float) -> None:
        pass

    def estimate(self, rows: int) -> float:
        return 1e-9


MakeEngine = Callable[..., Engine]


@pytest.fixture
def alphabet() -> CharacterVocabulary:
    return CharacterVocabulary(ascii_lowercase)


@pytest.fixture
def make_engine(alphabet: CharacterVocabulary) -> MakeEngine:
    """Makes an engine over a runner, its bursts `max_burst` long from the first on."""

    def make(runner: AlphabetRunner | None = None, **config: float) -> Engine:
        settings = {"max_streams": 4, "max_waiting": 4, "max_burst": 8, "latency_budget": 1e9} | config
        engine = Engine(runner or AlphabetRunner(), alphabet, SchedulerConfig(**settings))
        engine.scheduler.cost = NoCost()
        return engine

    return make


@pytest.fixture
def ask(alphabet: CharacterVocabulary) -> Callable[..., Request]:
    """Makes a request."""

    def make(prompt: str = "a", max_tokens: int = 5, stop: tuple[str, ...] = ()) -> Request:
        return Request(alphabet.encode(prompt), max_tokens, 0, stop=stop)

    return make


@pytest.fixture
def runner() -> AlphabetRunner:
    return AlphabetRunner()


@pytest.fixture
def poisoned(alphabet: CharacterVocabulary) -> AlphabetRunner:
    """A runner that fails whenever a row reads y."""
    return AlphabetRunner(poison=int(alphabet.encode("y")[0]))

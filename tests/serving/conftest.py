"""Fakes for the engine: a runner of known tokens over the letters of the alphabet."""

from collections.abc import Callable
from string import ascii_lowercase

import numpy as np
import pytest

from charloom.burst import OUTPUTS, Feeds, GraphKind, StateSpec
from charloom.vocabulary import CharacterVocabulary
from serving.engine.engine import Engine
from serving.engine.request import Request
from serving.engine.runner import RunError
from serving.engine.scheduler import SchedulerConfig


class AlphabetRunner:
    """Generates the letter after the last one; its state counts the steps a stream has run.

    It fails every burst in which a row reads the token `poison`.
    """

    def __init__(self, poison: int | None = None) -> None:
        self.poison = poison
        self.bursts: list[tuple[int, int]] = []  # (B, K) of every call

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        length, rows = feeds["forced"].shape
        self.bursts.append((rows, length))
        if self.poison is not None and (feeds["forced"] == self.poison).any():
            raise RunError("poisoned")
        last, steps_run = feeds["last"].copy(), feeds["steps_run"].copy()
        chosen = np.zeros((length, rows), np.int64)
        for step in range(length):
            forced_len = length if kind == "read" else feeds["forced_len"]
            following = np.where(step < forced_len, feeds["forced"][step], (last + 1) % 26)
            running = step < feeds.get("steps", np.full(rows, length))
            last = np.where(running, following, last)
            steps_run += running[:, None]
            chosen[step] = last
        outputs = {"chosen": chosen, "logprob": -(chosen.astype(np.float32)), "steps_run_out": steps_run}
        names = {"steps_run_out", *(spec.name for spec in OUTPUTS[kind])}
        return {name: array for name, array in outputs.items() if name in names}


STATE = (StateSpec("steps_run", "int64", (1,)),)
MakeEngine = Callable[..., Engine]


@pytest.fixture
def alphabet() -> CharacterVocabulary:
    return CharacterVocabulary(ascii_lowercase)


@pytest.fixture
def make_engine(alphabet: CharacterVocabulary) -> MakeEngine:
    """Makes an engine over a runner, its bursts `max_burst` long from the first on."""

    def make(runner: AlphabetRunner | None = None, **config: float) -> Engine:
        settings = {"max_streams": 4, "max_waiting": 4, "max_burst": 8, "latency_budget": 1e9} | config
        engine = Engine(runner or AlphabetRunner(), alphabet, STATE, SchedulerConfig(**settings))
        engine.scheduler.cost.learn(1, 1, 1e-9)
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

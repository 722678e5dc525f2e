"""Promise 1 on single bursts, by the real runner, at sizes where matrix kernels take other ways.

Products of many columns are cut into blocks, those of few rows go by themselves, what is left over at
an odd size goes last, and a large vocabulary is drawn from in blocks. None of it may show in a bit: of
each row the tokens, the log-probabilities and the state are the same in any company and any cut.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.batch_invariance import same
from charloom.burst import FULL_INPUTS, FULL_OUTPUTS, INPUTS, OUTPUTS, Feeds, GraphKind, neutral, take
from charloom.execution_class import Precision
from charloom.vocabulary import CharacterVocabulary
from networks.recurrent.config import RecurrentConfig
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.export.conftest import random_model
from tests.serving.test_interleavings import OneStrategy
from tests.serving.unverified import write_unverified

pytestmark = pytest.mark.slow  # tracing a network takes half a minute

STEPS, W, N = 5, 4, 2
KINDS = st.sampled_from(list(INPUTS))
SEEDS = st.integers(0, 2**32)
ROWS = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 130, 200]) | st.integers(1, 140)
FEW = settings(deadline=None, max_examples=40)


@dataclass(frozen=True)
class Size:
    """A network and its vocabulary."""

    config: RecurrentConfig
    tokens: int

    def __str__(self) -> str:
        return f"{self.config.cell}-{self.config.layers}x{self.config.cells}-of-{self.tokens}"


SIZES = (
    Size(RecurrentConfig("rnn", 1, 1, 0), 1),
    Size(RecurrentConfig("rnn", 1, 1, 3), 2),
    Size(RecurrentConfig("lstm", 2, 512, 64), 129),
    Size(RecurrentConfig("gru", 3, 37, 5), 5003),
)


@dataclass(frozen=True)
class Subject:
    """One model on one thread, and on two by every strategy."""

    tokens: int
    alone: Executor
    others: tuple[OneStrategy, ...]

    def rows(self, kind: GraphKind, rows: int, seed: int) -> Feeds:
        """A burst whose rows differ in all that this graph knows."""
        random = np.random.default_rng(seed)

        def pick(*values: float) -> np.ndarray:
            return random.choice(np.array(values), rows)

        feeds = neutral(INPUTS[kind], B=rows, K=STEPS, V=self.tokens, W=W, N=N)
        feeds["last"][:] = random.integers(0, self.tokens + 1, rows)
        feeds["forced"][:] = random.integers(0, self.tokens, (STEPS, rows))
        if kind != "read":
            feeds["forced_len"][:] = pick(0, 0, 1, 3, STEPS)
            feeds["uniform"][:] = random.random((STEPS, rows))
            feeds["temperature"][:] = random.choice([0, 0.7, 1, 1.6], (STEPS, rows))
        if kind == "full":
            feeds["steps"][:] = pick(0, 1, 3, STEPS, STEPS, STEPS)
            feeds["position"][:] = random.integers(0, 9, rows)
            feeds["generation_start"][:] = random.integers(0, 9, rows)
            feeds["top_k"][:] = pick(0, 1, 3, 40)
            feeds["top_p"][:] = pick(1, 0.9, 0.4)
            feeds["min_p"][:] = pick(0, 0, 0.05)
            feeds["typical_p"][:] = pick(1, 0.9, 0.4)
            feeds["recent"][:] = random.integers(-1, self.tokens, (rows, W))
            feeds["window"][:] = pick(0, 2, W)
            feeds["repetition_penalty"][:] = pick(1, 1.3)
            feeds["frequency_penalty"][:] = pick(0, 0.5)
            feeds["presence_penalty"][:] = pick(0, -0.7)
            feeds["bias_token"][:] = random.integers(0, self.tokens, (rows, N))
            feeds["bias_value"][:] = random.choice([0, 2, -3], (rows, N))
            feeds["bias_until"][:] = random.integers(0, 9, (rows, N))
            feeds["allowed"][:] = random.random((rows, self.tokens)) < 0.8
            feeds["allowed"][:, 0] = True
            feeds["alternatives"][:] = random.random(rows) < 0.5
            plain = random.random(rows) < 0.3
            for spec in FULL_INPUTS[len(INPUTS["plain"]) :]:
                if spec.dims[0] == "B" and spec.name != "steps":
                    feeds[spec.name][plain] = spec.neutral
        for state in self.alone.state:
            numbers = random.uniform(-1, 1, (rows, *state.shape))
            encoded = np.round(numbers * 127) + 128 if state.dtype == "uint8" else numbers
            feeds[state.name] = encoded.astype(state.dtype)
        return feeds


@pytest.fixture(scope="session", params=SIZES, ids=str)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights."""
    size: Size = request.param
    vocabulary = CharacterVocabulary(map(chr, range(0x4E00, 0x4E00 + size.tokens)))
    path = tmp_path_factory.mktemp("sizes") / str(size)
    return write_unverified(path, random_model(size.config, size.tokens), vocabulary, *PRECISIONS).path


@pytest.fixture(scope="module", params=PRECISIONS)
def subject(bundle: Path, request: pytest.FixtureRequest) -> Subject:
    """The bundle as a server loads it, which proves it and finds its padding."""
    precision: Precision = request.param
    one, two = (Model.load(bundle, RunnerConfig("cpu", precision, threads)) for threads in (1, 2))
    assert str(one.executor.execution_class) == str(two.executor.execution_class)
    assert [strategy.name for strategy in two.executor.strategies] == ["alone", "in shards", "together"]
    others = tuple(OneStrategy(two.executor, strategy) for strategy in two.executor.strategies)
    return Subject(one.bundle.vocabulary.size, one.executor, others)


def some(outputs: Feeds, rows: np.ndarray) -> Feeds:
    return take(outputs, FULL_OUTPUTS, rows)


@FEW
@given(KINDS, ROWS, SEEDS, st.data())
def test_neither_the_other_rows_nor_their_order_show_in_a_row(
    subject: Subject, kind: GraphKind, rows: int, seed: int, data: st.DataObject
) -> None:
    feeds = subject.rows(kind, rows, seed)
    whole = subject.alone.run(kind, feeds)
    order = np.random.default_rng(seed).permutation(rows)[: data.draw(st.integers(1, rows))]
    assert same(subject.alone.run(kind, take(feeds, INPUTS[kind], order)), some(whole, order))
    row = np.array([data.draw(st.integers(0, rows - 1))])
    assert same(subject.alone.run(kind, take(feeds, INPUTS[kind], row)), some(whole, row))


@FEW
@given(KINDS, ROWS, SEEDS)
def test_threads_and_shards_do_not_show(subject: Subject, kind: GraphKind, rows: int, seed: int) -> None:
    feeds = subject.rows(kind, rows, seed)
    whole = subject.alone.run(kind, feeds)
    for other in subject.others:
        assert same(other.run(kind, feeds), whole)


@FEW
@given(KINDS, ROWS, SEEDS, st.integers(1, STEPS - 1))
def test_a_burst_in_two_parts_is_the_whole(
    subject: Subject, kind: GraphKind, rows: int, seed: int, cut: int
) -> None:
    feeds = subject.rows(kind, rows, seed)
    whole = subject.alone.run(kind, feeds)
    first, second = ({**feeds}, {**feeds})
    for spec in INPUTS[kind]:
        if spec.dims[0] == "K":
            first[spec.name], second[spec.name] = feeds[spec.name][:cut], feeds[spec.name][cut:]
    begun = subject.alone.run(kind, first)
    second |= {spec.name: begun[spec.output] for spec in subject.alone.state}
    chosen = begun["chosen"] if kind != "read" else first["forced"]
    second["last"] = chosen[-1]
    if kind != "read":
        second["forced_len"] = (feeds["forced_len"] - cut).clip(min=0)
    if kind == "full":
        run = feeds["steps"].clip(max=cut)
        second["steps"], second["position"] = feeds["steps"] - run, feeds["position"] + run
        past = np.concatenate([feeds["recent"], chosen.T], 1)  # [B, W + cut]
        second["recent"] = np.take_along_axis(past, run[:, None] + np.arange(W), 1)
    ended = subject.alone.run(kind, second)
    both = {spec.name: np.concatenate([begun[spec.name], ended[spec.name]]) for spec in OUTPUTS[kind]}
    assert same(ended | both, whole)


@FEW
@given(ROWS, SEEDS)
def test_plain_rows_beside_filtered_ones_are_those_of_the_plain_graph(
    subject: Subject, rows: int, seed: int
) -> None:
    full, plain = subject.rows("full", rows, seed), subject.rows("plain", rows, seed + 1)
    those = np.flatnonzero(np.random.default_rng(seed).random(rows) < 0.5)
    for spec in FULL_INPUTS:
        index = (slice(None), those) if spec.dims[0] == "K" else (those,)
        full[spec.name][index] = plain[spec.name][index] if spec.name in plain else spec.neutral or 0
    full["steps"][those] = STEPS
    for spec in subject.alone.state:
        full[spec.name][those] = plain[spec.name][those]
    beside, expected = subject.alone.run("full", full), subject.alone.run("plain", plain)
    assert same(some({name: beside[name] for name in expected}, those), some(expected, those))


@FEW
@given(ROWS, SEEDS)
def test_rows_that_read_need_no_scores(subject: Subject, rows: int, seed: int) -> None:
    feeds = subject.rows("read", rows, seed)
    full = subject.rows("full", rows, seed + 1) | feeds
    full["forced_len"][:] = full["steps"][:] = STEPS
    read, beside = subject.alone.run("read", feeds), subject.alone.run("full", full)
    assert (beside["chosen"] == feeds["forced"]).all()
    assert same(beside, read)

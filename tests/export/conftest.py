"""Small models of random or known scores, and their graphs, built once a session."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from charloom.burst import FULL_INPUTS, INPUTS, Feeds, neutral
from export.build import BurstGraphs, build_graphs
from export.verify import Session
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from networks.recurrent.step import TABLE
from tests.conftest import PRECISIONS

W, N = 6, 3


@dataclass
class Built:
    """A model and its burst graphs in some precision."""

    model: RecurrentModel
    graphs: BurstGraphs
    session: Session

    @property
    def size(self):
        return self.model.outputs

    @property
    def state(self):
        return self.graphs.state

    def feeds(self, rows, steps, kind="full", **changes) -> Feeds:
        """A burst of fresh rows that run every step; changes are broadcast."""
        feeds = neutral(INPUTS[kind], B=rows, K=steps, V=self.size, W=W, N=N)
        feeds["last"][:] = self.size
        if kind == "full":
            feeds["steps"][:] = steps
        for name, value in changes.items():
            feeds[name][...] = value
        return feeds | {spec.name: spec.initial_rows(rows) for spec in self.state}

    def run(self, feeds, kind="full"):
        """Runs a burst on a graph that may not take all of these feeds."""
        names = {spec.name for spec in (*INPUTS[kind], *self.state)}
        return self.session.run(kind, {name: array for name, array in feeds.items() if name in names})


def build_model(model, precision="float32", unknown=None) -> Built:
    graphs = build_graphs(model, precision, unknown=unknown)
    return Built(model, graphs, Session(graphs, threads=1))


def random_model(config, tokens, seed=0, scale=1.5) -> RecurrentModel:
    """Large weights, so that the scores differ and depend on what was read."""
    torch.manual_seed(seed)
    model = RecurrentModel(config, tokens + 1, tokens).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale / max(1, parameter.shape[-1]) ** 0.5)
        model.output.weight.mul_(2)
    return model


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two processes whose threads outnumber the cores wait for each other most of the time."""
    torch.set_num_threads(1)


TOKENS = 12
TALL = (RecurrentConfig("lstm", 2, 7, 5), RecurrentConfig("gru", 2, 17, 0), RecurrentConfig("rnn", 2, 11, 4))
FLAT = (RecurrentConfig("lstm", 1, 33, 0), RecurrentConfig("gru", 1, 9, 3), RecurrentConfig("rnn", 1, 1, 0))
"""All cells at odd sizes, each with and without an embedding."""


EMBEDDED = (TALL[0], FLAT[1], TALL[2])
"""One of each cell, whose first layer can do without a table."""


@cache
def built_once(precision, config, table=TABLE) -> Built:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("networks.recurrent.step.TABLE", table)
        return build_model(random_model(config, TOKENS), precision)


def describe(case):
    precision, config, table = case
    without = "" if table else "-no-table"
    return f"{precision}-{config.cell}-{config.layers}x{config.cells}-{config.embedding}{without}"


CASES = (*product(PRECISIONS, TALL + FLAT, [TABLE]), *product(PRECISIONS, EMBEDDED, [0]))


@pytest.fixture(scope="session", params=CASES, ids=describe)
def network(request) -> Built:
    """Every kind of network in every precision."""
    return built_once(*request.param)


@pytest.fixture(scope="session")
def net() -> Built:
    """Two LSTM layers of random weights."""
    return built_once("float32", TALL[0])


@pytest.fixture(scope="session")
def words() -> Built:
    """A vocabulary of words: so large that drawing and filtering go other ways."""
    return build_model(random_model(RecurrentConfig("gru", 1, 24, 5), 5003, scale=2.5))


DICE = (0.3, 0.3, 0.2, 0.1, 0.05, 0.04, 0.01, 0.0)


@pytest.fixture(scope="session")
def dice() -> Built:
    """A model whose tokens have the probabilities DICE at every step, whatever it read."""
    model = RecurrentModel(RecurrentConfig("rnn", 1, 2, 0), len(DICE) + 1, len(DICE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output.bias.copy_(torch.log(torch.tensor(DICE)).clamp(min=-1000))
    return build_model(model)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def random_state(built, random, rows) -> Feeds:
    """Any state that a stream can have: bytes have no 0, as nothing lies below -1."""
    return {
        spec.name: random.integers(1, 256, (rows, *spec.shape)).astype(np.uint8)
        if spec.dtype == "uint8"
        else np.tanh(random.normal(0, 1, (rows, *spec.shape))).astype(np.float32)
        for spec in built.state
    }


def random_feeds(built: Built, random, rows, steps) -> Feeds:
    """A burst in which every row asks for something else."""
    size = built.size
    feeds = built.feeds(rows, steps)

    def pick(*values):
        return random.choice(np.array(values), rows)

    feeds["forced"][:] = random.integers(0, size, (steps, rows))
    feeds["forced_len"][:] = random.integers(0, steps, rows)
    feeds["steps"][:] = pick(steps, steps, steps, steps // 2)
    feeds["uniform"][:] = random.random((steps, rows))
    feeds["temperature"][:] = random.choice([0, 0.5, 1, 1.7], (steps, rows))
    feeds["position"][:] = random.integers(0, 50, rows)
    feeds["generation_start"][:] = feeds["position"] + random.integers(-5, 5, rows)
    feeds["top_k"][:] = pick(0, 1, 3, 40, size, size + 5)
    feeds["top_p"][:] = pick(1, 0.9, 0.3)
    feeds["min_p"][:] = pick(0, 0.05, 0.3)
    feeds["typical_p"][:] = pick(1, 0.9, 0.4)
    feeds["recent"][:] = random.integers(-1, size, feeds["recent"].shape)
    feeds["window"][:] = pick(0, 2, W)
    feeds["repetition_penalty"][:] = pick(1, 1.3, 0.8)
    feeds["frequency_penalty"][:] = pick(0, 0.5, -0.3)
    feeds["presence_penalty"][:] = pick(0, 0.7)
    feeds["bias_token"][:] = random.integers(0, size, feeds["bias_token"].shape)
    feeds["bias_value"][:] = random.choice([0, 2, -3], feeds["bias_value"].shape)
    feeds["bias_until"][:] = random.integers(-2, 12, feeds["bias_until"].shape)
    feeds["allowed"][:] = random.random((rows, size)) < 0.8
    feeds["allowed"][:, 5] = True
    feeds |= random_state(built, random, rows)
    feeds["alternatives"][:] = pick(False, True)
    # Half of the rows have gone on from a token, the others begin.
    feeds["last"][:] = np.where(random.random(rows) < 0.5, random.integers(0, size, rows), size)
    assert set(feeds) == {spec.name for spec in (*FULL_INPUTS, *built.state)}
    return feeds

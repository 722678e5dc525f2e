"""Every kind of network in every precision: the graphs are the step, exact to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.batch_invariance import Subject, check
from charloom.burst import FULL_INPUTS, FULL_OUTPUTS, INPUTS, READ_INPUTS, take
from export.verify import Session
from networks.recurrent.config import RecurrentConfig
from tests.conftest import PRECISIONS
from tests.export.conftest import (
    FLAT,
    TALL,
    TOKENS,
    build_model,
    built_once,
    random_feeds,
    random_model,
    random_state,
)
from tests.export.numpy_step import NumpyStep


@pytest.fixture(scope="module")
def text():
    return np.random.default_rng(0).integers(0, TOKENS, 400)


@pytest.fixture
def steps(text):
    """Every step of a text in numpy: the state before, scores and state after, rows [T, ...]."""

    def run(network):
        step = NumpyStep(network.model, network.graphs.precision)
        fed = np.append(TOKENS, text[:-1])
        before, scores, after = [], [], []
        state = step.fresh(1)
        for token in fed:
            before.append(state)
            score, state = step(np.array([token]), state)
            scores.append(score)
            after.append(state)
        feeds = {"last": fed, "forced": text[None]} | stack(network, before)
        return feeds, np.concatenate(scores), stack(network, after)

    return run


def stack(network, states):
    columns = zip(network.state, zip(*states, strict=True), strict=True)
    return {spec.name: np.concatenate(column) for spec, column in columns}


@pytest.mark.parametrize("config", TALL + FLAT, ids=lambda config: f"{config.cell}-{config.cells}")
@torch.inference_mode()
def test_the_step_in_torch_is_that_in_numpy(config, steps, text):
    network = built_once("float32", config)
    _, expected, after = steps(network)
    step = network.model.step()
    state = step.initial_state(1)
    for place, token in enumerate([TOKENS, *text[:-1].tolist()]):
        scores, state = step(torch.tensor([token]), state)
        np.testing.assert_allclose(scores.numpy()[0], expected[place], atol=1e-4)
        for spec, tensor in zip(network.state, state, strict=True):
            np.testing.assert_allclose(tensor.numpy()[0], after[spec.name][place], atol=1e-5)


def rows_that_agree(network, found, expected):
    """Checks a state against numpy's; gives the rows [B] in which every byte is the same.

    The runtimes add up in different orders, which moves a few numbers over the edge between two
    bytes. In a layer above such a byte, everything is a little different.
    """
    agree = np.ones(len(found[network.state[0].output]), bool)
    for spec in network.state:
        ours, theirs = found[spec.output], expected[spec.name]
        assert ours.dtype == spec.dtype
        if spec.dtype == "uint8":
            assert np.abs(ours.astype(int) - theirs)[agree].max() <= 1, "bytes are at most neighbours"
            agree &= (ours == theirs).all(1)
        else:
            np.testing.assert_allclose(ours[agree], theirs[agree], atol=1e-5)
    return agree


def test_the_reading_graph_takes_every_step_of_a_text_as_numpy_does(network, steps):
    feeds, _, expected = steps(network)
    agree = rows_that_agree(network, network.run(feeds, "read"), expected)
    assert agree.mean() > 0.97


def test_the_full_graph_scores_every_step_of_a_text_as_numpy_does(network, steps, text):
    feeds, scores, expected = steps(network)
    burst = network.feeds(len(text), 1, forced_len=1) | feeds
    found = network.run(burst)
    agree = rows_that_agree(network, found, expected)
    assert agree.mean() > 0.97
    logprobs = log_softmax(scores)[np.arange(len(text)), text]
    assert logprobs.std() > 0.3, "the model should care what it reads"
    np.testing.assert_allclose(found["logprob"][0, agree], logprobs[agree], atol=1e-4)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 300), st.integers(2, 9), st.integers(0, 2**32))
def test_a_row_is_read_to_the_same_bits_in_any_company(network, two_threads, rows, steps, seed):
    random = np.random.default_rng(seed)
    feeds = network.feeds(rows, steps, "read") | random_state(network, random, rows)
    feeds["forced"][:] = random.integers(0, TOKENS, (steps, rows))
    whole = network.run(feeds, "read")
    expect_same(two_threads.run("read", feeds), whole)
    some = random.permutation(rows)[: random.integers(1, rows + 1)]
    expect_same(network.run(take(feeds, READ_INPUTS, some), "read"), take(whole, (), some))
    cut = random.integers(1, steps)
    first = network.run(feeds | {"forced": feeds["forced"][:cut]}, "read")
    second = {"last": feeds["forced"][cut - 1], "forced": feeds["forced"][cut:]}
    expect_same(network.run(second | {s.name: first[s.output] for s in network.state}, "read"), whole)


@pytest.fixture
def two_threads(network):
    return Session(network.graphs, threads=2)


def log_softmax(scores):
    return scores - np.log(np.exp(scores.astype(np.float64)).sum(1, keepdims=True))


def expect_same(found, expected):
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


def expect_exact(built):
    text = np.random.default_rng(1).integers(0, built.size, 400)
    two = Session(built.graphs, threads=2).run
    subject = Subject(built.session.run, built.size, built.size, tuple(built.state), {"2 threads": two})
    assert "2 threads" in check(subject, text).held


def test_all_graphs_are_exact_on_one_thread_and_two(network):
    expect_exact(network)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("config", "tokens"),
    [(RecurrentConfig("lstm", 2, 512, 64), 5003), (RecurrentConfig("gru", 1, 333, 0), 131)],
    ids=["blocks", "odd"],
)
def test_sizes_that_matrix_kernels_cut_in_blocks_are_exact(precision, config, tokens):
    model = random_model(config, tokens)
    expect_exact(build_model(model, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_building_again_gives_the_same_bytes(precision):
    again = build_model(random_model(FLAT[0], TOKENS), precision)
    assert again.graphs.files == built_once(precision, FLAT[0]).graphs.files


@pytest.mark.parametrize("kind", INPUTS)
def test_no_neighbour_however_extreme_changes_a_row(network, random, kind):
    rows, steps = 16, 4
    feeds = random_feeds(network, random, rows, steps)
    ours, extreme = np.arange(0, rows, 2), np.arange(1, rows, 2)
    for spec in network.state:
        values = [0, 255] if spec.dtype == "uint8" else [-1e38, 1e38, np.inf, np.nan, 1e-45, -1, 1, 0]
        feeds[spec.name][extreme] = np.resize(values, len(extreme))[:, None]
    together = take(network.run(feeds, kind), FULL_OUTPUTS, ours)
    expect_same(network.run(take(feeds, FULL_INPUTS, ours), kind), together)

"""Each sampler in the exported graph: how often it chooses what, and that no row minds its company."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charloom.burst import FULL_INPUTS, FULL_OUTPUTS, TensorSpec, take
from export import sampler
from export.graph import GraphBuilder, Initializers, graph_input
from networks import sampler as reference_sampler
from tests.export import reference
from tests.export.conftest import random_feeds
from tests.export.test_burst import expect_reference

NEUTRAL = {spec.name: spec.neutral for spec in FULL_INPUTS}
K = 3

CHI_SQUARED = (15.1, 18.4, 21.1, 23.5, 25.7, 27.9, 29.9)
"""Of 1, 2, ... degrees of freedom: it stays below with a probability of 99.99 %."""


def expect_distribution(built, groups, runs, **filters):
    """Compares how often the graph samples each group of tokens, groups [V], with the reference."""
    rows = 1000
    random = np.random.default_rng(7)
    feeds = built.feeds(rows, 1, **filters)
    mass = reference.burst(built.model, take(feeds, FULL_INPUTS, np.array([0])))["mass"][0, 0]
    chosen = []
    for _ in range(runs):
        feeds["uniform"][:] = random.integers(0, 2**24, (1, rows)) * 2.0**-24
        chosen.append(built.run(feeds)["chosen"])
    assert (mass[chosen] > 0).all()
    counts = np.bincount(groups[chosen].ravel(), minlength=groups.max() + 1)
    expected = np.bincount(groups, mass / mass.sum()) * runs * rows
    left = expected > 1e-9  # the die's last face has next to nothing
    assert 1 < left.sum() <= len(CHI_SQUARED) + 1
    assert not counts[~left].any()
    assert expected[left].min() > 5
    assert ((counts - expected)[left] ** 2 / expected[left]).sum() < CHI_SQUARED[left.sum() - 2]


FILTERS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2},
    {"top_k": 4},
    {"min_p": 0.15},
    {"typical_p": 0.6},
    {"top_p": 0.7},
    {"top_k": 5, "min_p": 0.1, "typical_p": 0.9, "top_p": 0.95, "temperature": 1.5},
    {"window": 3, "recent": [0, 1, 2, 1, 0, 2], "repetition_penalty": 1.5, "presence_penalty": 0.2},
    {"window": 6, "recent": [-1, -1, 0, 1, 1, 1], "frequency_penalty": 0.3},
    {"bias_token": [1, 1, 6], "bias_value": [-1, 0.5, 3], "bias_until": 1},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_draws_follow_the_probabilities_that_are_left(dice, filters):
    expect_distribution(dice, np.arange(8), 20, **filters)


@pytest.mark.parametrize(
    "filters", [{}, {"top_k": 200}, {"typical_p": 0.5}, {"min_p": 0.02}, {"top_p": 0.8}], ids=str
)
def test_draws_from_a_large_vocabulary_lie_where_their_random_numbers_do(words, random, filters):
    """Each number in the share of the token that it draws: so every share is as large as it should be."""
    rows = 200
    feeds = words.feeds(rows, 1, **filters)
    mass = reference.burst(words.model, take(feeds, FULL_INPUTS, np.array([0])))["mass"][0, 0]
    feeds["uniform"][:] = np.floor((np.arange(rows) + random.random(rows)) / rows * 2**24) * 2.0**-24
    chosen = words.run(feeds)["chosen"][0]
    assert (mass[chosen] > 0).all()
    edges = np.concatenate([[0], mass.cumsum()]) / mass.sum()
    assert (edges[chosen] - 1e-5 <= feeds["uniform"][0]).all()
    assert (feeds["uniform"][0] <= edges[chosen + 1] + 1e-5).all()


@pytest.mark.parametrize("seed", range(3))
def test_choices_from_a_large_vocabulary(words, seed):
    expect_reference(words, random_feeds(words, np.random.default_rng(seed), 16, K))


ASKING = {
    "adjust": ("window", "bias_value", "allowed"),
    **{name: (name,) for name in ("top_k", "min_p", "typical_p", "top_p", "alternatives")},
}
"""What a row has neutral that does not ask for a sampler."""


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["net", "words"]),
    st.integers(0, 2**32),
    st.lists(st.sets(st.sampled_from(list(ASKING))), min_size=2, max_size=20),
    st.data(),
)
def test_no_row_minds_what_others_ask_for(request, name, seed, asked, data):
    """Rows ask for any of the samplers: to the bit it is nothing to the plain ones, nor to each other."""
    built = request.getfixturevalue(name)
    feeds = random_feeds(built, np.random.default_rng(seed), len(asked), K)
    for asking, inputs in ASKING.items():
        silent = [row for row, wants in enumerate(asked) if asking not in wants]
        for spec in inputs:
            feeds[spec][silent] = NEUTRAL[spec]
    feeds["steps"][[row for row, wants in enumerate(asked) if not wants]] = K  # as in the plain graph
    together = built.run(feeds)
    rows = np.array(data.draw(st.lists(st.integers(0, len(asked) - 1), min_size=1, max_size=5)))
    expect_bits(take(together, FULL_OUTPUTS, rows), built.run(take(feeds, FULL_INPUTS, rows)))
    plain = np.flatnonzero([not wants for wants in asked])
    assume(len(plain))
    expect_bits(take(together, FULL_OUTPUTS, plain), built.run(take(feeds, FULL_INPUTS, plain), "plain"))


def expect_bits(found, expected):
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", ["net", "words"])
@pytest.mark.parametrize("temperature", [0, 0.01, 1, 100])
def test_of_all_but_one_token_forbidden_the_one_is_chosen(request, name, temperature):
    built = request.getfixturevalue(name)
    rows = min(built.size, 60)
    left = np.linspace(0, built.size - 1, rows).astype(int)
    uniform = np.array([[0], [0.5], [1 - 2.0**-24]])
    feeds = built.feeds(rows, len(uniform), uniform=uniform, temperature=temperature)
    by_mask = feeds | {"allowed": left[:, None] == np.arange(built.size)}
    filters = {"top_k": 3, "min_p": 0.5, "typical_p": 0.5, "top_p": 0.5, "repetition_penalty": 2, "window": 2}
    filtered = by_mask | {n: np.full(rows, v, feeds[n].dtype) for n, v in filters.items()}
    for burst in (by_mask, filtered):
        assert (built.run(burst)["chosen"] == left).all()


def test_a_bias_of_minus_infinity_forbids_a_token_while_it_is_active(dice):
    """That is how the host keeps a text from ending before its minimum length."""
    feeds = dice.feeds(4, 6, position=7, generation_start=9)
    feeds["uniform"][:] = 0  # the first token that is left
    forbid = -np.inf
    feeds["bias_token"][:] = [[0, 0, 1], [0, 1, 2], [0, 1, 0], [0, 0, 1]]
    feeds["bias_value"][:] = [[forbid, 5, 0], [forbid] * 3, [forbid] * 3, [0, 0, forbid]]
    feeds["bias_until"][:] = [[2, 9, 9], [3, 2, 1], [-2, -2, -2], [9, 9, 9]]
    # Two steps come before the first generated token, so a bias on two generated ones is on four steps.
    chosen = dice.run(feeds)["chosen"].T.tolist()
    assert chosen == [[1, 1, 1, 1, 0, 0], [3, 3, 3, 2, 1, 0], [0] * 6, [0] * 6]


def test_biases_on_one_token_add_up(dice):
    u = np.arange(50) / 50
    whole = dice.feeds(50, 1, uniform=u, bias_token=0, bias_value=[-0.75, 0, 0], bias_until=1)
    split = dice.feeds(50, 1, uniform=u, bias_token=0, bias_value=-0.25, bias_until=1)
    assert dice.run(split)["chosen"].tolist() == dice.run(whole)["chosen"].tolist()


@pytest.mark.parametrize("name", ["net", "words"])
def test_a_row_in_which_no_token_is_left_harms_no_other(request, name, random):
    """A host should refuse to ask for it."""
    built = request.getfixturevalue(name)
    feeds = random_feeds(built, random, 12, K)
    others = np.arange(12) != 5
    feeds["allowed"][5], feeds["forced_len"][5], feeds["steps"][5] = False, 0, K
    feeds["top_k"][5], feeds["min_p"][5], feeds["typical_p"][5], feeds["top_p"][5] = 4, 0.1, 0.5, 0.5
    found = built.run(feeds)
    assert found["chosen"][:, 5].tolist() == [0] * K
    rows = np.flatnonzero(others)
    expect_bits(take(found, FULL_OUTPUTS, rows), built.run(take(feeds, FULL_INPUTS, rows)))


def build_top_p(tokens):
    """What top-p leaves of mass [B, V], as a graph of its own."""
    op = GraphBuilder(Initializers({}))
    takes = [TensorSpec("mass", "float32", ("B", tokens)), TensorSpec("share", "float32", ("B",))]
    mass, share = (graph_input(spec) for spec in takes)
    kept = op.Identity(sampler.keep_top_p(op, mass, share, tokens))
    data = op.serialize([mass, share], [kept], [TensorSpec("kept", "float32", ("B", tokens))])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda mass, share: session.run(None, {"mass": mass, "share": share})[0]


@pytest.mark.parametrize("tokens", [sampler.SORTED, sampler.SORTED + 1, 5003])
def test_of_numbers_that_add_up_without_rounding_top_p_keeps_what_the_reference_does(random, tokens):
    """So a vocabulary that is not sorted keeps the same tokens as one that is, ties and zeros included."""
    top_p = build_top_p(tokens)
    rows = [
        np.ones(tokens),  # all alike
        np.eye(1, tokens, 7)[0],  # one has everything
        random.integers(0, 3, tokens),  # ties and zeros
        random.integers(1, 2000, tokens),
        np.floor(2.0 ** random.uniform(0, 16, tokens)).clip(max=2**16),
        np.floor(2.0**20 / (1 + random.permutation(tokens)) ** 1.5),
    ]
    mass = np.repeat(np.array(rows, np.float32), 4, axis=0)
    mass[mass.sum(1) >= 2**24] //= 64
    assert mass.sum(1).max() < 2**24
    share = np.resize(np.array([0.01, 0.5, 0.9, 0.999], np.float32), len(mass))
    expected = reference_sampler.keep_top_p(torch.from_numpy(mass), torch.from_numpy(share)).numpy()
    np.testing.assert_array_equal(top_p(mass, share), expected)
    for row in range(len(mass)):
        np.testing.assert_array_equal(top_p(mass[row : row + 1], share[row : row + 1])[0], expected[row])

"""The exported burst graphs against a second, plain implementation."""

import numpy as np
import pytest

from charloom.burst import FULL_INPUTS, PLAIN_OUTPUTS, take
from export.burst import GRAPHS
from tests.export import reference
from tests.export.conftest import N, W, build_model, random_feeds

K, B = 8, 24
NEUTRAL = {spec.name: spec.neutral for spec in FULL_INPUTS}


def expect_reference(built, feeds, kind="full"):
    """Runs the graph and compares everything that it gives."""
    expected = reference.burst(built.model, feeds)
    found = built.run(feeds, kind)
    np.testing.assert_array_equal(found["chosen"], expected["chosen"])
    if kind == "full":
        np.testing.assert_allclose(found["logprob"], expected["logprob"], atol=2e-4)
    for spec in built.state:
        np.testing.assert_allclose(found[spec.output], expected[spec.output], atol=1e-4)
    return found, expected


def asking_for(built, random, *names):
    """A burst of random rows in which everything but these inputs is neutral."""
    feeds = random_feeds(built, random, B, K)
    always = {"last", "steps", "forced", "uniform", *(spec.name for spec in built.state)}
    for name in set(feeds) - always - set(names):
        feeds[name][...] = NEUTRAL[name]
    return feeds


@pytest.mark.parametrize("kind", ["plain", "full"])
@pytest.mark.parametrize("name", ["forced_len", "temperature"])
def test_what_both_graphs_do(net, random, kind, name):
    feeds = asking_for(net, random, name)
    feeds["steps"][:] = K  # which is all that the plain graph can do
    expect_reference(net, feeds, kind)


PENALTIES = ("recent", "window")
BIASES = ("bias_token", "bias_value", "bias_until", "position", "generation_start")


@pytest.mark.parametrize(
    "names",
    [
        ("top_k",),
        ("top_p",),
        ("min_p",),
        ("typical_p",),
        ("top_k", "min_p", "typical_p", "top_p"),
        (*PENALTIES, "repetition_penalty"),
        (*PENALTIES, "frequency_penalty"),
        (*PENALTIES, "presence_penalty"),
        (*PENALTIES, "frequency_penalty", "forced_len"),
        BIASES,
        ("allowed",),
        ("allowed", "top_k", "temperature"),
    ],
    ids="+".join,
)
def test_each_sampler(net, random, names):
    feeds = asking_for(net, random, *names)
    found, _ = expect_reference(net, feeds)
    plain = net.run(feeds, "plain")
    assert (plain["chosen"] != found["chosen"]).any(), "the sampler made no difference: the test says nothing"


@pytest.mark.parametrize("seed", range(6))
def test_all_samplers_together(net, seed):
    expect_reference(net, random_feeds(net, np.random.default_rng(seed), B, K))


def test_tokens_of_no_probability_are_never_sampled(net):
    random = np.random.default_rng(0)
    for edge in (0, 1 - 2.0**-24, None):
        feeds = random_feeds(net, random, 64, K)
        feeds["forced_len"][:] = 0
        feeds["allowed"][:, 0] = feeds["allowed"][:, -1] = False  # where u = 0 and u near 1 would fall
        if edge is not None:
            feeds["uniform"][:] = edge
        found = net.run(feeds)["chosen"][0]
        allowed = np.take_along_axis(feeds["allowed"], found[:, None], 1)[:, 0]
        assert allowed.all()


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),  # the last has probability zero
        ({"top_k": 3}, [0, 1, 2]),
        ({"top_k": 1}, [0, 1]),  # equals are kept together
        ({"top_p": 0.7}, [0, 1, 2]),
        ({"top_p": 0.96}, [0, 1, 2, 3, 4, 5]),
        ({"top_p": 1e-6}, [0, 1]),
        ({"min_p": 0.3}, [0, 1, 2, 3]),
        ({"min_p": 1}, [0, 1]),
        ({"typical_p": 0.15}, [2]),  # 1.61 nats, nearest to the entropy of 1.57
        ({"typical_p": 0.4}, [0, 1, 2]),
        ({"typical_p": 0.85}, [0, 1, 2, 3]),
        ({"typical_p": 0.15, "top_k": 2}, [0, 1]),
        ({"typical_p": 0.6, "top_k": 3, "top_p": 0.2}, [0, 1]),
        ({"top_k": 4, "top_p": 0.85}, [0, 1, 2]),  # top-p of what top-k left: 0.8 of 0.9
        ({"top_k": 4, "top_p": 0.95}, [0, 1, 2, 3]),
        ({"allowed": [False, False, True, True, False, False, False, True]}, [2, 3]),
        ({"allowed": [False] * 6 + [True, True]}, [6]),
        ({"temperature": 0}, [0]),
        ({"bias_token": 6, "bias_value": [1000, 0, 0], "bias_until": 400}, [6]),
        ({"bias_token": 0, "bias_value": [-1000, 0, 0], "bias_until": 400}, [1, 2, 3, 4, 5, 6]),
    ],
    ids=str,
)
def test_exactly_the_kept_tokens_are_sampled(dice, filters, kept):
    """A sweep over u meets every token that has a probability, the edges none that has not."""
    steps = 400
    feeds = dice.feeds(1, steps, **filters)
    feeds["uniform"][:, 0] = np.append(np.arange(steps - 1) / (steps - 1), 1 - 2.0**-24)
    chosen = dice.run(feeds)["chosen"][:, 0]
    assert sorted(set(chosen.tolist())) == kept
    assert (np.diff(chosen) >= 0).all()  # in vocabulary order, whatever is filtered
    assert chosen[0] == kept[0]
    assert chosen[-1] == kept[-1]


def test_the_first_of_equals_is_the_greedy_choice(dice):
    feeds = dice.feeds(3, 4, temperature=0, uniform=1 - 2.0**-24)
    feeds["allowed"][1, 0] = False
    feeds["bias_token"][2], feeds["bias_value"][2, 0], feeds["bias_until"][2] = 1, 1, 9
    assert dice.run(feeds)["chosen"].tolist() == [[0, 1, 1]] * 4
    assert dice.run(feeds, "plain")["chosen"].tolist() == [[0, 0, 0]] * 4


def test_plain_rows_have_the_same_bits_in_either_graph(net, random):
    feeds = random_feeds(net, random, B, K)
    plain = np.arange(0, B, 2)
    feeds["steps"][plain] = K
    for spec in FULL_INPUTS:
        if spec.neutral is not None and spec.name not in ("forced", "forced_len", "uniform", "temperature"):
            feeds[spec.name][plain] = spec.neutral
    full, alone = net.run(feeds), net.run(feeds, "plain")
    for name in [spec.name for spec in PLAIN_OUTPUTS] + [spec.output for spec in net.state]:
        rows = (slice(None), plain) if alone[name].shape[0] == K else plain
        assert full[name][rows].tobytes() == alone[name][rows].tobytes(), name


@pytest.mark.parametrize("steps", [0, 1, 5, K])
def test_a_frozen_row_keeps_its_last_token_and_its_state(net, random, steps):
    feeds = random_feeds(net, random, B, K)
    feeds["last"][:] = random.integers(0, net.size, B)
    feeds["steps"][:] = K
    feeds["steps"][3] = steps
    shorter = {
        n: a[: max(steps, 1)] if n in ("forced", "uniform", "temperature") else a for n, a in feeds.items()
    }
    whole, until = net.run(feeds), net.run(shorter)
    for spec in net.state:
        expected = until[spec.output][3] if steps else feeds[spec.name][3]
        assert whole[spec.output][3].tobytes() == expected.tobytes()
    last = until["chosen"][steps - 1, 3] if steps else feeds["last"][3]
    assert (whole["chosen"][steps:, 3] == last).all()
    assert (whole["chosen"][:steps] == until["chosen"][:steps]).all()


def test_a_fresh_row_that_runs_no_step_does_no_harm(net, random):
    feeds = random_feeds(net, random, B, K)
    feeds["last"][3], feeds["steps"][3] = net.size, 0
    outputs = net.run(feeds)
    assert (outputs["chosen"][:, 3] == net.size).all()
    others = np.delete(np.arange(B), 3)
    alone = net.run(take(feeds, FULL_INPUTS, others))
    assert alone["chosen"].tolist() == outputs["chosen"][:, others].tolist()


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_a_token_leaves_the_same_state_read_or_sampled(net, random, kind):
    feeds = net.feeds(B, K)
    feeds["uniform"][:] = random.random((K, B))
    sampled = net.run(feeds, kind)
    read = net.run(feeds | {"forced": sampled["chosen"], "forced_len": np.full(B, K)}, kind)
    for name, array in sampled.items():
        assert read[name].tobytes() == array.tobytes(), name
    for name, array in net.run(feeds | {"forced": sampled["chosen"]}, "read").items():
        assert array.tobytes() == sampled[name].tobytes(), name


def test_a_burst_split_in_two_goes_on_with_the_ring_and_the_position(net, random):
    feeds = random_feeds(net, random, B, K)
    feeds["steps"][:] = K
    whole = net.run(feeds)
    cut = 3
    parts = [dict(feeds), dict(feeds)]
    for name in ("forced", "uniform", "temperature"):
        parts[0][name], parts[1][name] = feeds[name][:cut], feeds[name][cut:]
    for part, steps in zip(parts, (cut, K - cut), strict=True):
        part["steps"] = np.full(B, steps)
    first = net.run(parts[0])
    ring = np.concatenate([feeds["recent"], first["chosen"].T], 1)[:, -W:]
    parts[1] |= {spec.name: first[spec.output] for spec in net.state} | {
        "last": first["chosen"][-1],
        "recent": ring,
        "position": feeds["position"] + cut,
        "forced_len": (feeds["forced_len"] - cut).clip(min=0),
    }
    second = net.run(parts[1])
    for name in ("chosen", "logprob", "top_token", "top_logprob"):
        assert np.concatenate([first[name], second[name]]).tobytes() == whole[name].tobytes(), name


def test_log_probabilities_are_the_models_own_whatever_was_asked(dice, random):
    feeds = random_feeds(dice, random, B, K)
    found = dice.run(feeds)
    own = np.log(np.array([0.3, 0.3, 0.2, 0.1, 0.05, 0.04, 0.01, 1]))
    steps = np.arange(K)[:, None] < feeds["steps"]
    likely = steps & (found["chosen"] < 7)
    np.testing.assert_allclose(found["logprob"][likely], own[found["chosen"][likely]], atol=1e-5)


def test_alternatives_are_the_likeliest_tokens_of_the_model_itself(net, random):
    feeds = random_feeds(net, random, B, K)
    found, _ = expect_reference(net, feeds)
    assert found["top_token"].shape == (K, B, net.size)  # of 12 tokens all, though 20 were asked for
    wanted = feeds["alternatives"]
    tokens, logprobs = found["top_token"][:, wanted], found["top_logprob"][:, wanted]
    assert (np.diff(logprobs, axis=-1) <= 0).all()
    assert (np.sort(tokens, -1) == np.arange(net.size)).all()
    np.testing.assert_allclose(np.exp(logprobs.astype(np.float64)).sum(-1), 1, atol=1e-5)
    # The chosen token's own log-probability stands among them, to the bit.
    running = np.arange(K)[:, None] < feeds["steps"]
    own = np.where(tokens == found["chosen"][:, wanted, None], logprobs, 0).sum(-1)
    assert (own == found["logprob"][:, wanted])[running[:, wanted]].all()


@pytest.mark.parametrize("name", ["net", "words"])
def test_the_rank_of_a_token_is_its_place_by_score(request, random, name):
    built = request.getfixturevalue(name)
    feeds = random_feeds(built, random, B, K)
    found = built.run(feeds)
    wanted, running = feeds["alternatives"], np.arange(K)[:, None] < feeds["steps"]
    own = found["logprob"][..., None]
    above = 1 + (found["top_logprob"] > own).sum(-1)  # of a large vocabulary those before it in the top alone
    listed = (running & wanted) & (found["top_token"] == found["chosen"][..., None]).any(-1)
    assert listed.any()
    assert (found["rank"] == above)[listed].all()
    beyond = running & wanted & ~listed
    assert (found["rank"][beyond] > found["top_token"].shape[-1] - 1).all()
    assert not found["rank"][:, ~wanted].any()


def test_rows_that_want_no_alternatives_are_told_of_token_0(net, random):
    feeds = random_feeds(net, random, B, K)
    found, everyone = net.run(feeds), net.run(feeds | {"alternatives": np.ones(B, bool)})
    spared = ~feeds["alternatives"]
    assert not found["top_token"][:, spared].any()
    of_0 = np.where(everyone["top_token"] == 0, everyone["top_logprob"], 0).sum(-1, keepdims=True)
    assert (found["top_logprob"] == of_0)[:, spared].all()


@pytest.mark.parametrize("name", ["net", "words"])
def test_an_unknown_token_is_fed_and_scored_and_never_sampled(request, random, name):
    """To the bit what each row does that does not allow it, in the plain graph as well."""
    built = request.getfixturevalue(name)
    unknown = built.size - 1
    with_unknown = build_model(built.model, unknown=unknown)
    feeds = random_feeds(built, random, B, K)
    feeds["last"][::3] = feeds["forced"][::2] = unknown
    without = feeds | {"allowed": feeds["allowed"] & (np.arange(built.size) != unknown)}
    for name, array in built.run(without).items():
        assert with_unknown.run(feeds)[name].tobytes() == array.tobytes(), name
    plain = built.feeds(B, K, last=unknown, uniform=1 - 2.0**-24)
    alone = with_unknown.run(plain, "plain")["chosen"]
    assert (built.run(plain, "plain")["chosen"] == unknown).any()
    assert not (alone == unknown).any()
    without = plain | {"allowed": np.broadcast_to(np.arange(built.size) != unknown, (B, built.size))}
    assert alone.tolist() == built.run(without)["chosen"].tolist()


def test_graphs_of_a_vocabulary_without_an_unknown_token_know_nothing_of_it(net):
    again = build_model(net.model)
    with_unknown = build_model(net.model, unknown=net.size - 1)
    assert again.graphs.graphs == net.graphs.graphs
    changed = {kind for kind in GRAPHS if with_unknown.graphs.graphs[kind] != net.graphs.graphs[kind]}
    assert changed == {"plain", "full"}


@pytest.mark.parametrize("sizes", [(1, 1), (1, K), (B, 1), (33, 3)])
def test_any_number_of_rows_and_steps(net, random, sizes):
    rows, steps = sizes
    feeds = random_feeds(net, random, rows, steps)
    feeds["steps"][:] = steps
    expect_reference(net, feeds)


@pytest.mark.parametrize(("ring", "biases"), [(1, 1), (20, 1), (1, 9)])
def test_any_length_of_ring_and_any_number_of_biases(net, random, ring, biases):
    feeds = random_feeds(net, random, B, K)
    feeds["recent"] = random.integers(-1, net.size, (B, ring))
    feeds["window"][:] = ring
    for name, array in (("bias_token", feeds["bias_token"]), ("bias_value", feeds["bias_value"])):
        feeds[name] = np.resize(array, (B, biases)).astype(array.dtype)
    feeds["bias_until"] = np.full((B, biases), 100)
    assert (ring, biases) != (W, N)
    expect_reference(net, feeds)

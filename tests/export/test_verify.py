"""Verification finds graphs that are not the model, and measures what int8 costs."""

import copy
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from charloom.batch_invariance import BatchInvarianceError
from export.held_out import LANES, SHORTEST, HeldOutText, in_lanes
from export.verify import GREEDY, VerificationError, Verifier, compare_greedy, score_model
from tests.conftest import needs_int8
from tests.export.conftest import TALL, build_model, built_once


@pytest.fixture
def text(net, random):
    return random.integers(0, net.size, 300)


def held_out(net, tokens):
    """A continuous text of these tokens, one to a character, with which graphs are verified."""
    return HeldOutText(tokens, [in_lanes(tokens, net.size)], 1.0)


@pytest.fixture
def verify(net, text):
    """Verifies some graphs of the float model, its own if none are given."""

    def run(text=text, graphs=net.graphs):
        return Verifier(net.model, held_out(net, text)).verify_float(graphs)

    return run


def altered(graphs, kind, change):
    """The graphs, of which one has other weights: its own, changed."""
    model = onnx.load_model_from_string(graphs.graphs[kind])
    found = 0
    for tensor in model.graph.initializer:
        if tensor.name in graphs.weights_of[kind]:
            array = graphs.weights.tensors[tensor.name]
            if array.dtype == np.float32:
                array, found = np.ascontiguousarray(change(array), np.float32), found + 1
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    assert found
    data = dict(graphs.graphs) | {kind: model.SerializeToString()}
    return replace(graphs, graphs=data, weights_of=dict(graphs.weights_of) | {kind: []})


def test_a_good_graph_passes(verify):
    outcome = verify()
    assert outcome.precision == "float32"
    assert outcome.tokens == LANES * SHORTEST  # a short text is repeated
    manifest = outcome.to_json()
    assert manifest["tokens_scored"] == outcome.tokens
    assert manifest["largest_logprob_difference"] < 1e-4
    equal, of = map(int, manifest["greedy_tokens_equal"].split(" of "))
    assert 0 < equal <= of == GREEDY
    assert manifest["padding"] == outcome.exactness.padding
    assert manifest["execution_class"].startswith("float32/cpu/onnxruntime-")
    assert manifest["execution_class"].endswith(f"/pad{outcome.exactness.padding}")
    assert {"reading", "thread count"} <= set(manifest["equal_to_the_bit"])


def test_a_model_that_would_often_choose_the_unknown_token_is_itself_without_it(net, text):
    unknown = net.size - 1
    model = copy.deepcopy(net.model)
    with torch.no_grad():
        model.output.bias[unknown] += 5
    graphs = build_model(model, unknown=unknown).graphs
    assert Verifier(model, held_out(net, text), unknown).verify_float(graphs).precision == "float32"
    with pytest.raises(VerificationError, match="greedy text parts"):
        Verifier(model, held_out(net, text)).verify_float(graphs)


def test_the_loss_in_the_manifest_is_that_of_the_text(net, random, verify):
    """Of one that is longer than what is scored in one burst."""
    text = random.integers(0, net.size, LANES * 200)
    scored = score_model(net.model, held_out(net, text))
    outcome = verify(text)
    assert outcome.tokens == len(text)
    assert outcome.nats_per_token == pytest.approx(-scored.mean(), abs=1e-5)
    assert outcome.bits_per_character == pytest.approx(outcome.nats_per_token / math.log(2))
    assert outcome.to_json()["nats_per_token"] == pytest.approx(-scored.mean(), abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [lambda a: a * 1.01, lambda a: a + 0.01 * (np.arange(a.size) == 3).reshape(a.shape)],
    ids=["scaled", "one number each"],
)
def test_altered_weights_are_found(net, verify, change):
    with pytest.raises(VerificationError, match=r"no bundle was written: log-probabilities differ"):
        verify(graphs=altered(net.graphs, "full", change))


def test_weights_that_are_no_numbers_are_found(net, verify):
    with pytest.raises(VerificationError, match="nan"):
        verify(graphs=altered(net.graphs, "full", lambda a: np.full_like(a, np.nan)))


@pytest.mark.parametrize("kind", ["read", "plain"])
def test_other_weights_in_one_graph_alone_are_found(net, verify, kind):
    with pytest.raises(BatchInvarianceError, match="reading"):
        verify(graphs=altered(net.graphs, kind, lambda a: a * (1 + 1e-6)))


def test_a_greedy_text_that_parts_where_the_model_is_clear_is_found(net, text):
    class Stubborn:
        """Chooses one token later than the graph does."""

        def run(self, kind, feeds):
            outputs = net.session.run(kind, feeds)
            outputs["chosen"][60] = (outputs["chosen"][60] + 1) % net.size
            return outputs

    with pytest.raises(VerificationError, match="parts from the model's at token 10"):
        compare_greedy(net.model, Stubborn(), net.state, text[:50], 1e-6)


def test_a_choice_too_close_to_call_ends_the_comparison(net, text):
    """Where two scores are nearer than rounding, either text is right."""
    feeds = net.feeds(1, 51, "plain", forced_len=50, temperature=0)
    feeds["forced"][:50, 0] = text[:50]
    first = int(net.run(feeds, "plain")["chosen"][50, 0])
    # The model itself now finds every other token as likely as the greedy one, and the first of them wins.
    model = copy.deepcopy(net.model)
    model.output.weight.data[:] = model.output.weight.data[first]
    model.output.bias.data[:] = model.output.bias.data[first]
    assert compare_greedy(model, net.session, net.state, text[:50], 1e-6) < GREEDY


@pytest.mark.parametrize("length", [1, 5])
def test_a_short_text_is_repeated(verify, length):
    assert verify(np.arange(length)).tokens == LANES * SHORTEST


@pytest.fixture
def verify_int8(net, text, verify):
    """Verifies the same model in int8, some of its graphs changed, against a loss of the float ones."""

    def run(max_cost=1.0, loss=0.0, change=None, kind="full"):
        by_float = verify()
        by_float = replace(by_float, nats_per_token=by_float.nats_per_token + loss)
        graphs = built_once("int8", TALL[0]).graphs
        if change is not None:
            graphs = altered(graphs, kind, change)
        return by_float, Verifier(net.model, held_out(net, text)).verify_int8(graphs, by_float, max_cost)

    return run


@needs_int8
def test_int8_is_measured_by_what_it_costs(verify_int8):
    by_float, outcome = verify_int8()
    assert outcome.precision == "int8"
    assert outcome.tokens == by_float.tokens
    cost = outcome.nats_per_token - by_float.nats_per_token
    assert 0 < abs(cost) < 0.1
    manifest = outcome.to_json()
    assert manifest["cost_in_nats_per_token"] == pytest.approx(cost, abs=1e-6)
    assert manifest["execution_class"].startswith("int8/cpu/onnxruntime-")
    assert {"reading", "thread count"} <= set(manifest["equal_to_the_bit"])


@needs_int8
def test_int8_that_costs_too_much_is_refused(verify_int8):
    with pytest.raises(VerificationError, match=r"int8 costs 0\.[4-6].* above 0.005; .*--max-cost"):
        verify_int8(0.005, loss=-0.5)


@needs_int8
def test_int8_that_happens_to_be_better_costs_less_than_nothing(verify_int8):
    _, outcome = verify_int8(0, loss=0.5)
    assert outcome.comparison["cost_in_nats_per_token"] < -0.4


@needs_int8
def test_int8_that_gives_no_numbers_is_refused(verify_int8):
    with pytest.raises(VerificationError, match="int8 costs nan"):
        verify_int8(1e9, change=lambda a: np.full_like(a, np.nan))


@needs_int8
def test_int8_graphs_that_differ_are_found(verify_int8):
    with pytest.raises(BatchInvarianceError, match="reading"):
        verify_int8(change=lambda a: a * 1.01, kind="read")

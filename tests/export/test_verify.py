"""Verification finds graphs that are not the model."""

import copy

import numpy as np
import onnx
import pytest

from charloom.exactness import ExactnessError
from export import verify as module
from export.onnx_graph import graphs as subgraphs
from export.verify import GREEDY, SCORED, VerificationError, compare_greedy, verify


@pytest.fixture
def text(net, random):
    return random.integers(0, net.size, 300)


def altered(data, change, *, smallest=20):
    """The graph with its weights, of at least so many numbers, changed."""
    model = onnx.load_model_from_string(data)
    found = 0
    for graph in subgraphs(model.graph):
        for tensor in graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype == np.float32 and array.size >= smallest:
                tensor.CopyFrom(onnx.numpy_helper.from_array(change(array), tensor.name))
                found += 1
    assert found
    return model.SerializeToString()


def test_a_good_graph_passes(net, text):
    outcome = verify(net.model, net.graphs, net.state, text)
    assert outcome.characters == SCORED
    assert outcome.largest_difference < 1e-4
    assert outcome.greedy_of == GREEDY
    assert outcome.greedy_equal > 0
    manifest = outcome.to_json()
    assert manifest["padding"] == outcome.exactness.padding == outcome.execution_class.padding
    assert manifest["execution_class"].startswith("float32/cpu/onnxruntime-")
    assert "thread count" in manifest["equal_to_the_bit"]


def test_the_loss_in_the_manifest_is_that_of_the_text(net, text):
    scored = module.score_model(net.model, np.resize(text, SCORED), net.size)
    outcome = verify(net.model, net.graphs, net.state, text)
    assert outcome.nats_per_character == pytest.approx(-scored.mean(), abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a * np.float32(1.01),
        lambda a: a + np.float32(0.01) * (np.arange(a.size) == 3).reshape(a.shape),
    ],
    ids=["scaled", "one number each"],
)
def test_altered_weights_are_found(net, text, change):
    def float_change(array):
        return np.ascontiguousarray(change(array), np.float32)

    broken = net.graphs | {"plain": altered(net.graphs["plain"], float_change)}
    with pytest.raises(VerificationError, match=r"no bundle was written: log-probabilities differ"):
        verify(net.model, broken, net.state, text)


def test_weights_that_are_no_numbers_are_found(net, text):
    broken = net.graphs | {"plain": altered(net.graphs["plain"], lambda a: np.full_like(a, np.nan))}
    with pytest.raises(VerificationError, match="nan"):
        verify(net.model, broken, net.state, text)


def test_a_full_graph_of_other_weights_is_found(net, text):
    full = altered(net.graphs["full"], lambda a: a * np.float32(1.01))
    with pytest.raises(ExactnessError, match="filtered"):
        verify(net.model, net.graphs | {"full": full}, net.state, text)


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
    outputs = net.session.run("plain", module.burst_of_one(net.state, text[:50], 50 + GREEDY, net.size))
    model = copy.deepcopy(net.model)
    first = int(outputs["chosen"][50, 0])
    # The model itself now finds every other token as likely as the greedy one, and the first of them wins.
    model.output.weight.data[:] = model.output.weight.data[first]
    model.output.bias.data[:] = model.output.bias.data[first]
    assert compare_greedy(model, net.session, net.state, text[:50], 1e-6) < GREEDY


@pytest.mark.parametrize("length", [1, 5])
def test_a_short_text_is_repeated(net, length):
    assert verify(net.model, net.graphs, net.state, np.arange(length)).characters == SCORED

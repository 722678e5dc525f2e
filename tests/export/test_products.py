"""Products in int8: the weights against their floats, onnxruntime's operators against integers."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.sessions import inline
from charloom.burst import TensorSpec
from export.build import build_graphs
from export.graph import GraphBuilder, Initializers, graph_input
from export.products import BYTE_ZERO as ZERO
from export.products import ByteProducts, FloatProducts
from tests.conftest import needs_int8
from tests.export.conftest import TALL, TOKENS, random_model
from tests.export.numpy_step import NumpyStep, byte_product, encode

F32 = np.float32
WEIGHTS = st.sampled_from([0, 0.5, 1, 127]) | st.floats(-4, 4, width=32, allow_subnormal=False)


def edges():
    """Where one byte becomes the next, as near as float32 comes to it, from both sides."""
    middles = ((np.arange(-127, 127) + 0.5) / 127).astype(F32)
    return np.concatenate([np.nextafter(middles, F32(2)), middles, np.nextafter(middles, F32(-2))])


@dataclass
class Operators:
    """Encoding, the product with its bias, and with an addend, in onnxruntime."""

    weights: dict
    session: onnxruntime.InferenceSession

    def run(self, h, addend):
        return self.session.run(None, {"h": h, "addend": addend})


def open_operators(products, weight, bias):
    inputs, outputs = weight.shape
    product = products.add("w", weight, bias)
    op = GraphBuilder(Initializers(inline(products.weights)))
    takes = [TensorSpec("h", "float32", ("B", inputs)), TensorSpec("addend", "float32", ("B", outputs))]
    h, addend = map(graph_input, takes)
    encoded = op.Identity(products.encode(op, h))
    values = [encoded, product(op, encoded), product(op, encoded, addend)]
    gives = [
        TensorSpec("encoded", products.dtype, ("B", inputs)),
        *(TensorSpec(name, "float32", ("B", outputs)) for name in ("product", "added")),
    ]
    data = op.serialize([h, addend], values, gives)
    return Operators(products.weights, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]))


@st.composite
def weights(draw):
    """A weight [I, O]."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 9))
    return draw(arrays(F32, (rows, columns), elements=WEIGHTS))


@given(weights())
def test_each_column_of_a_weight_uses_all_of_its_range(weight):
    products = ByteProducts()
    products.add("w", weight)
    integers, scale = products.weights["w.weight"].astype(int), products.weights["w.scale"]
    largest = np.abs(weight).max(0)
    assert (np.abs(integers).max(0) == np.where(largest > 0, 127, 0)).all()
    error = np.abs(integers * scale.astype(np.float64) - weight)
    assert (error <= 0.5001 * largest / 127).all()


@given(weights(), st.integers(0, 2**32))
def test_a_product_is_near_that_of_floats(weight, seed):
    random = np.random.default_rng(seed)
    encoded = random.integers(1, 256, (3, len(weight)), np.uint8)
    products = ByteProducts()
    products.add("w", weight)
    found = byte_product(encoded, products.weights["w.weight"], products.weights["w.scale"])
    decoded = (encoded.astype(np.float64) - ZERO) / 127
    bound = np.abs(decoded).sum(1)[:, None] * np.abs(weight).max(0) * 0.501 / 127 + 1e-4
    assert (np.abs(found - decoded @ weight.astype(np.float64)) <= bound).all()


@pytest.mark.parametrize(
    "products",
    [FloatProducts, pytest.param(ByteProducts, marks=needs_int8)],
    ids=lambda products: products.dtype,
)
def test_a_column_of_zeros_gives_its_bias(products, random):
    weight = random.normal(0, 1, (5, 3)).astype(F32)
    weight[:, 1] = 0
    operators = open_operators(products(), weight, np.array([1, 2, 3], F32))
    h = random.uniform(-1, 1, (4, 5)).astype(F32)
    assert operators.run(h, np.zeros((4, 3), F32))[1][:, 1].tolist() == [2.0] * 4


@pytest.fixture(scope="module", params=[(33, 1), (64, 48), (515, 130)], ids=str)
def operators(request):
    random = np.random.default_rng(0)
    inputs, outputs = request.param
    weight, bias = random.normal(0, 1, (inputs, outputs)), random.normal(0, 1, outputs)
    return open_operators(ByteProducts(), weight.astype(F32), bias.astype(F32))


@pytest.fixture
def states(operators):
    """Rows [n, H] from both sides of every edge, at random, and as large as can be; and addends [n, O]."""
    inputs, outputs = operators.weights["w.weight"].shape
    random = np.random.default_rng(0)
    h = np.resize(np.append(edges(), [-1, -0.0, 0, 1e-45, 1]), (math.ceil(800 / inputs), inputs))
    h = np.concatenate([h, random.uniform(-1, 1, (40, inputs)), np.ones((1, inputs)), -np.ones((1, inputs))])
    return h.astype(F32), random.normal(0, 1, (len(h), outputs)).astype(F32)


def test_a_byte_is_the_nearest_to_its_number(operators, states):
    h, addend = states
    encoded = operators.run(h, addend)[0]
    np.testing.assert_array_equal(encoded, encode(h))
    decoded = (encoded.astype(np.float64) - ZERO) / 127
    assert np.abs(decoded - h).max() <= 0.5 / 127 + 1e-7
    assert encoded.min() >= 1  # as many steps below 0 as above
    assert (encoded.astype(int) - ZERO == ZERO - operators.run(-h, addend)[0].astype(int)).all()


def test_the_ends_and_the_middle():
    assert encode([-1, 0, 1]).tolist() == [1, 128, 255]
    assert encode([-0.0, 1e-45, -1e-45]).tolist() == [128] * 3


@needs_int8
def test_a_product_is_that_of_integers(operators, states):
    """Only the rounding of bias or addend may differ."""
    h, addend = states
    encoded, product, added = operators.run(h, addend)
    expected = byte_product(encoded, operators.weights["w.weight"], operators.weights["w.scale"])
    np.testing.assert_allclose(product, expected + operators.weights["w.bias"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(added, expected + addend, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(0, 69), st.integers(0, 2**32))
def test_a_rows_product_has_the_same_bits_in_any_company(operators, rows, row, seed):
    inputs, outputs = operators.weights["w.weight"].shape
    random = np.random.default_rng(seed)
    h = random.uniform(-1, 1, (rows, inputs)).astype(F32) * random.choice([0, 1, 1e9], (rows, 1)).astype(F32)
    h[row % rows] = np.tanh(random.normal(0, 1, inputs))
    addend = random.normal(0, 1, (rows, outputs)).astype(F32)
    together = operators.run(h, addend)
    place = slice(row % rows, row % rows + 1)
    for ours, all_ in zip(operators.run(h[place], addend[place]), together, strict=True):
        assert ours.tobytes() == all_[place].tobytes()


@pytest.mark.parametrize("config", TALL, ids=lambda config: config.cell)
def test_what_only_products_read_is_kept_as_bytes(config):
    state = build_graphs(random_model(config, TOKENS), "int8").state
    h = ("float32", 0) if config.cell == "gru" else ("uint8", 128)
    kept = {"h": h, "c": ("float32", 0)} if config.cell == "lstm" else {"h": h}
    expected = {f"{kind}_{i}": what for i in range(2) for kind, what in kept.items()}
    assert {spec.name: (spec.dtype, spec.initial) for spec in state} == expected


@pytest.mark.parametrize("config", TALL, ids=lambda config: config.cell)
def test_a_text_costs_about_the_same_in_int8(config):
    model = random_model(config, TOKENS)
    text = np.random.default_rng(0).integers(0, TOKENS, (300, 8))
    logprobs = [score(NumpyStep(model, precision), text) for precision in ("float32", "int8")]
    difference = np.abs(logprobs[0] - logprobs[1])
    assert 0 < difference.mean() < 0.1 * logprobs[0].std()


def score(step, text):
    """Log-probability [T, B] of every token of a text [T, B] but the first."""
    state, scored = step.fresh(text.shape[1]), []
    for fed, target in pairwise(text):
        scores, state = step(fed, state)
        logprobs = scores - np.log(np.exp(scores.astype(np.float64)).sum(1, keepdims=True))
        scored.append(np.take_along_axis(logprobs, target[:, None], 1)[:, 0])
    return np.stack(scored)

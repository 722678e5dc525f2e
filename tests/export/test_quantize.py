"""Products in int8: torch's definition against integers, onnxruntime's operators against torch's."""

import math
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from export.onnx_graph import quiet
from export.quantize import Bytes, Int8, Int8Product, translations
from networks.recurrent.step import BYTE_ZERO as ZERO
from networks.recurrent.step import Float32, RecurrentStep
from tests.conftest import needs_int8
from tests.export.conftest import TALL, TOKENS, random_model

F32 = np.float32
outputs = arrays(F32, st.integers(1, 60), elements=st.floats(-1, 1, width=32))
WEIGHTS = st.sampled_from([0, 0.5, 1, 127]) | st.floats(-4, 4, width=32, allow_subnormal=False)


def edges():
    """Where one byte becomes the next, as near as float32 comes to it, from both sides."""
    middles = ((np.arange(-127, 127) + 0.5) / 127).astype(F32)
    return np.concatenate([np.nextafter(middles, F32(2)), middles, np.nextafter(middles, F32(-2))])


def encode(values):
    return Bytes()(torch.from_numpy(np.asarray(values, F32))).numpy()


@given(outputs)
def test_a_byte_is_the_nearest_to_its_number(values):
    encoded = encode(values)
    assert encoded.dtype == np.uint8
    decoded = (encoded.astype(np.float64) - ZERO) / 127
    assert np.abs(decoded - values).max() <= 0.5 / 127 + 1e-7
    assert encoded.min() >= 1  # as many steps below 0 as above


def test_the_ends_and_the_middle():
    assert encode([-1, 0, 1]).tolist() == [1, 128, 255]
    assert encode([-0.0, 1e-45, -1e-45]).tolist() == [128] * 3


@given(outputs)
def test_the_sign_changes_nothing_else(values):
    assert ((encode(values).astype(int) - ZERO) == (ZERO - encode(-values).astype(int))).all()


@st.composite
def products(draw):
    """A weight [I, O], rows of encoded numbers [B, I], and a bias [O]."""
    rows, inputs, outputs = (draw(st.integers(1, most)) for most in (4, 40, 9))
    weight = draw(arrays(F32, (inputs, outputs), elements=WEIGHTS))
    encoded = draw(arrays(np.uint8, (rows, inputs), elements=st.integers(1, 255)))
    return weight, encoded, draw(arrays(F32, outputs, elements=st.floats(-9, 9, width=32)))


@given(products())
def test_a_product_is_that_of_integers(given_):
    weight, encoded, bias = given_
    product = Int8Product(torch.from_numpy(weight), torch.from_numpy(bias), Bytes())
    integers, scale = product.weight.numpy(), product.scale.numpy()
    sums = (encoded.astype(np.int64) - ZERO) @ integers.astype(np.int64)
    unbiased = sums.astype(F32) * (scale * F32(1 / 127))
    rows = torch.from_numpy(encoded)
    np.testing.assert_array_equal(product(rows).numpy(), unbiased + bias)
    addend = np.arange(unbiased.size, dtype=F32).reshape(unbiased.shape)
    np.testing.assert_array_equal(product(rows, torch.from_numpy(addend)).numpy(), unbiased + addend)


@given(products())
def test_each_column_of_a_weight_uses_all_of_its_range(given_):
    weight = given_[0]
    product = Int8Product(torch.from_numpy(weight), None, Bytes())
    integers = product.weight.numpy().astype(int)
    largest = np.abs(weight).max(0)
    assert (np.abs(integers).max(0) == np.where(largest > 0, 127, 0)).all()
    error = np.abs(integers * product.scale.numpy().astype(np.float64) - weight)
    assert (error <= 0.5001 * largest / 127).all()


@given(products())
def test_a_product_is_near_that_of_floats(given_):
    weight, encoded, bias = given_
    product = Int8Product(torch.from_numpy(weight), torch.from_numpy(bias), Bytes())
    decoded = (encoded.astype(np.float64) - ZERO) / 127
    exact = decoded @ weight.astype(np.float64) + bias
    bound = np.abs(decoded).sum(1)[:, None] * np.abs(weight).max(0) * 0.501 / 127 + 1e-4
    assert (np.abs(product(torch.from_numpy(encoded)).numpy() - exact) <= bound).all()


@pytest.mark.parametrize("numbers", [Float32(), Int8()], ids=lambda numbers: numbers.dtype)
def test_a_column_of_zeros_gives_its_bias(numbers):
    weight = torch.randn(5, 3)
    weight[:, 1] = 0
    rows = numbers.encode(torch.rand(4, 5) * 2 - 1)
    product = numbers.product(weight, torch.tensor([1.0, 2.0, 3.0]))
    assert product(rows)[:, 1].tolist() == [2.0] * 4


class Both(nn.Module):
    """Both operators, the product with its bias and with an addend."""

    def __init__(self, product, encoding):
        super().__init__()
        self.product = product
        self.encoding = encoding

    def forward(self, h, addend):
        encoded = self.encoding(h)
        return encoded, self.product(encoded), self.product(encoded, addend)


@pytest.fixture(scope="module", params=[(33, 1), (64, 48), (515, 130)], ids=str)
def exported(request):
    """The operators in torch and in onnxruntime."""
    torch.manual_seed(0)
    inputs, outputs = request.param
    encoding = Bytes()
    both = Both(Int8Product(torch.randn(inputs, outputs), torch.randn(outputs), encoding), encoding)
    rows = torch.export.Dim("B")
    with quiet():
        program = torch.onnx.export(
            both.eval(),
            (torch.zeros(3, inputs), torch.zeros(3, outputs)),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: rows}, {0: rows}),
            custom_translation_table=dict(translations()),
            input_names=["h", "addend"],
        )
    data = program.model_proto.SerializeToString()
    return both, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.fixture
def states(exported):
    """Rows [n, H] from both sides of every edge, at random, and as large as can be; and addends [n, O]."""
    inputs, outputs = exported[0].product.weight.shape
    random = np.random.default_rng(0)
    h = np.resize(np.append(edges(), [-1, -0.0, 0, 1e-45, 1]), (math.ceil(800 / inputs), inputs))
    h = np.concatenate([h, random.uniform(-1, 1, (40, inputs)), np.ones((1, inputs)), -np.ones((1, inputs))])
    return h.astype(F32), random.normal(0, 1, (len(h), outputs)).astype(F32)


def test_onnxruntime_has_the_same_bytes(exported, states):
    both, session = exported
    h, addend = states
    expected, *_ = both(torch.from_numpy(h), torch.from_numpy(addend))
    encoded, *_ = session.run(None, {"h": h, "addend": addend})
    np.testing.assert_array_equal(encoded, expected.numpy())


@needs_int8
def test_onnxruntime_has_the_same_products(exported, states):
    """They are sums of the same integers; only the rounding of bias or addend may differ."""
    both, session = exported
    h, addend = states
    _, *expected = both(torch.from_numpy(h), torch.from_numpy(addend))
    _, *found = session.run(None, {"h": h, "addend": addend})
    for mine, theirs in zip(found, expected, strict=True):  # with a bias, and with an addend
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(0, 69), st.integers(0, 2**32))
def test_a_rows_product_has_the_same_bits_in_any_company(exported, rows, row, seed):
    both, session = exported
    inputs, outputs = both.product.weight.shape
    random = np.random.default_rng(seed)
    h = random.uniform(-1, 1, (rows, inputs)).astype(F32) * random.choice([0, 1, 1e9], (rows, 1)).astype(F32)
    h[row % rows] = np.tanh(random.normal(0, 1, inputs))
    addend = random.normal(0, 1, (rows, outputs)).astype(F32)
    together = session.run(None, {"h": h, "addend": addend})
    place = slice(row % rows, row % rows + 1)
    alone = session.run(None, {"h": h[place], "addend": addend[place]})
    for ours, all_ in zip(alone, together, strict=True):
        assert ours.tobytes() == all_[place].tobytes()


@pytest.mark.parametrize("config", TALL, ids=lambda config: config.cell)
def test_what_only_products_see_is_kept_as_bytes(config):
    specs = {s.name: (s.dtype, s.initial) for s in RecurrentStep(random_model(config, TOKENS), Int8()).specs}
    h = ("float32", 0) if config.cell == "gru" else ("uint8", 128)
    kept = {"h": h, "c": ("float32", 0)} if config.cell == "lstm" else {"h": h}
    assert specs == {f"{kind}_{i}": what for i in range(2) for kind, what in kept.items()}


@pytest.mark.parametrize("config", TALL, ids=lambda config: config.cell)
@torch.inference_mode()
def test_a_text_costs_about_the_same_in_int8(config):
    model = random_model(config, TOKENS)
    text = torch.from_numpy(np.random.default_rng(0).integers(0, TOKENS, (300, 8)))
    logprobs = [score(RecurrentStep(model, numbers), text) for numbers in (Float32(), Int8())]
    difference = (logprobs[0] - logprobs[1]).abs()
    assert 0 < difference.mean() < 0.1 * logprobs[0].std()


def score(step, text):
    """Log-probability [T, B] of every token of a text [T, B] but the first."""
    state, scored = step.initial_state(text.shape[1]), []
    for fed, target in pairwise(text):
        scores, state = step(fed, state)
        scored.append(torch.log_softmax(scores, -1).gather(1, target[:, None])[:, 0])
    return torch.stack(scored)

import warnings
from dataclasses import fields

import pytest
import torch

from charloom.errors import ConfigError
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from training.hardware import emulates_bfloat16
from training.regularisation import RegularisationConfig, RegularisedModel

INPUTS, OUTPUTS = 12, 11
RATES = [option.name for option in fields(RegularisationConfig)]
CELLS = ["lstm", "gru", "rnn"]
RUNS_BFLOAT16 = emulates_bfloat16()
LACKS = "this processor has no kernels in bfloat16"
BFLOAT16 = pytest.param(True, marks=pytest.mark.skipif(not RUNS_BFLOAT16, reason=LACKS))


def made(config, **rates):
    torch.manual_seed(0)
    model = RecurrentModel(config, INPUTS, OUTPUTS)
    return model, RegularisedModel(model, RegularisationConfig(**rates))


def chunk(model, time=9, lanes=5):
    torch.manual_seed(1)
    state = tuple(torch.randn_like(part) for part in model.initial_state(lanes))
    return torch.randint(0, INPUTS, (time, lanes)), state


def same(one, other):
    (y, state), (z, final) = one, other
    return torch.equal(y, z) and all(torch.equal(a, b) for a, b in zip(state, final, strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("rates", [{}, dict.fromkeys(RATES, 0.0)])
def test_without_rates_it_is_the_model_to_the_bit(cell, layers, rates):
    model, regularised = made(RecurrentConfig(cell=cell, layers=layers, cells=16), **rates)
    before = torch.get_rng_state()
    tokens, state = chunk(model)
    after = torch.get_rng_state()
    assert same(regularised(tokens, state), model(tokens, state))
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bfloat16", [False, BFLOAT16])
def test_layer_by_layer_is_the_model_to_the_bit(cell, layers, bfloat16):
    """So small a share of the weights that none is hit: the path of dropped weights, nothing dropped."""
    model, regularised = made(RecurrentConfig(cell=cell, layers=layers, cells=16), weight_dropout=1e-9)
    tokens, state = chunk(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        (y, end), (z, final) = regularised(tokens, state), model(tokens, state)
        assert same((y, end), (z, final))
        y.float().square().sum().backward()
        mine = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        z.float().square().sum().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(mine, model.parameters(), strict=True))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("embedding", [0, 6])
def test_each_rate_changes_every_step_and_leaves_the_model_alone(rate, embedding):
    model, regularised = made(RecurrentConfig(cells=16, embedding=embedding), **{rate: 0.5})
    tokens, state = chunk(model)
    expected = model(tokens, state)
    first, second = regularised(tokens, state), regularised(tokens, state)
    assert not same(first, expected)
    assert not same(first, second)
    assert same(model.train()(tokens, state), expected)
    assert same(model.eval()(tokens, state), expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("cells", [1, 16])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bfloat16", [False, BFLOAT16])
def test_all_rates_together_give_finite_gradients(cell, cells, layers, bfloat16):
    config = RecurrentConfig(cell=cell, cells=cells, layers=layers, embedding=4)
    model, regularised = made(config, **dict.fromkeys(RATES, 0.3))
    tokens, state = chunk(model)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        warnings.simplefilter("error")
        scores, after = regularised(tokens, state)
    assert scores.shape == (9, 5, OUTPUTS)
    assert [part.shape for part in after] == [part.shape for part in state]
    scores.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_reaches_a_dropped_weight(cell):
    model, regularised = made(RecurrentConfig(cell=cell, cells=16), weight_dropout=0.5)
    regularised(*chunk(model))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        untouched = (parameter.grad == 0).float().mean().item()
        if "weight_hh" in name:
            assert untouched == pytest.approx(0.5, abs=0.1)
        elif "embedding" not in name:  # one token may not occur
            assert untouched < 0.1


def test_no_gradient_reaches_a_dropped_token():
    model, regularised = made(RecurrentConfig(cells=16), token_dropout=0.5)
    tokens, state = chunk(model, time=60)
    regularised(tokens, state)[0].square().sum().backward()
    dropped = (model.embedding.weight.grad == 0).all(1)
    assert 0 < dropped.sum() < INPUTS


def test_units_between_layers_are_dropped_for_a_whole_chunk():
    """Whatever the second layer is fed of a dropped unit, its weight learns nothing from it."""
    model, regularised = made(RecurrentConfig(cells=16), dropout=0.5)
    tokens, state = chunk(model, lanes=1)
    regularised(tokens, state)[0].square().sum().backward()
    blind = (model.recurrent.weight_ih_l1.grad == 0).all(0)
    assert 0 < blind.sum() < 16


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("value", [-0.1, 1, float("nan")])
def test_bad_rates_are_refused(rate, value):
    with pytest.raises(ConfigError, match=f"{rate} must be at least 0 and below 1"):
        RegularisationConfig(**{rate: value})

"""The fused kernels do with any weights what PyTorch's modules do, in the type they are asked for."""

from typing import get_args

import pytest
import torch

from networks.recurrent.config import Cell, RecurrentConfig
from networks.recurrent.kernels import own_dtype, run_layers
from networks.recurrent.model import RecurrentModel


@pytest.fixture(params=get_args(Cell))
def model(request):
    torch.manual_seed(0)
    return RecurrentModel(RecurrentConfig(cell=request.param, layers=2, cells=16, embedding=8), 5, 5)


def test_layers_run_as_in_their_module(model):
    x, state = torch.randn(7, 3, 8), model.stacked(model.initial_state(3))
    expected, after = model.recur_at_once(x, state)
    y, mine = run_layers(model.config.cell, x, state, model.recurrent.all_weights)
    torch.testing.assert_close(y, expected)
    for one, other in zip(mine, after, strict=True):
        torch.testing.assert_close(one, other)


def test_a_dtype_holds_for_all_of_it_and_gradients_come_back(model):
    x, state = torch.randn(7, 3, 8), model.stacked(model.initial_state(3))
    expected, _ = model.recur_at_once(x, state)
    y, after = run_layers(model.config.cell, x, state, model.recurrent.all_weights, torch.bfloat16)
    assert {y.dtype, *(part.dtype for part in after)} == {torch.bfloat16}
    torch.testing.assert_close(y.float(), expected, atol=0.03, rtol=0)
    y.float().square().sum().backward()
    gradients = [weight.grad for layer in model.recurrent.all_weights for weight in layer]
    assert all(gradient.dtype == torch.float32 and gradient.abs().sum() > 0 for gradient in gradients)


def test_a_cpu_leaves_the_type_to_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert own_dtype(torch.device("cpu")) is None

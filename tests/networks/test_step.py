import pytest
import torch

from networks.recurrent import ModelConfig, RecurrentModel
from networks.step import Step

INPUTS, OUTPUTS = 12, 11


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_step_equals_the_fused_model(cell, embedding, layers):
    torch.manual_seed(0)
    config = ModelConfig(cell=cell, layers=layers, cells=17, embedding=embedding)
    model = RecurrentModel(config, INPUTS, OUTPUTS).eval()
    tokens = torch.randint(0, INPUTS, (20, 3))
    with torch.no_grad():
        expected, final = model(tokens, model.initial_state(3))
        step = Step(model)
        state = step.initial_state(3)
        scores = []
        for row in tokens:
            out, state = step(row, state)
            scores.append(out)
    torch.testing.assert_close(torch.stack(scores), expected, atol=1e-5, rtol=1e-5)
    for spec, value in zip(step.specs, state, strict=True):
        kind, layer = spec.name.split("_")
        torch.testing.assert_close(value, final["hc".index(kind)][int(layer)], atol=1e-5, rtol=1e-5)


def test_model_knows_its_size():
    model = RecurrentModel(ModelConfig(layers=1, cells=3, embedding=2), 5, 4)
    assert model.parameter_count() == 5 * 2 + 4 * 3 * (2 + 3 + 2) + 4 * 3 + 4

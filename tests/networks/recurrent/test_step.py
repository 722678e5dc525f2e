import pytest
import torch

from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from networks.recurrent.step import TABLE

INPUTS, OUTPUTS = 12, 11


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("table", [TABLE, 0])
def test_step_equals_the_fused_model(cell, embedding, layers, table, monkeypatch):
    monkeypatch.setattr("networks.recurrent.step.TABLE", table)
    torch.manual_seed(0)
    config = RecurrentConfig(cell=cell, layers=layers, cells=17, embedding=embedding)
    model = RecurrentModel(config, INPUTS, OUTPUTS).eval()
    tokens = torch.randint(0, INPUTS, (20, 3))
    with torch.no_grad():
        expected, final = model(tokens, model.initial_state(3))
        step = model.step()
        state = step.initial_state(3)
        scores = []
        for row in tokens:
            out, state = step(row, state)
            scores.append(out)
    torch.testing.assert_close(torch.stack(scores), expected, atol=1e-5, rtol=1e-5)
    assert step.specs == model.state_specs
    for value, expected_value in zip(state, final, strict=True):
        torch.testing.assert_close(value, expected_value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [100, 4000])
def test_a_table_is_made_of_a_small_vocabulary_alone(tokens, monkeypatch):
    monkeypatch.setattr("networks.recurrent.step.TABLE", 50_000)
    for embedding in (0, 5):
        step = RecurrentModel(RecurrentConfig(layers=1, cells=6, embedding=embedding), tokens, tokens).step()
        assert (step.cells[0].sums.tokens.table is not None) == (tokens == 100 or not embedding)
    numbers = sum(parameter.numel() for parameter in step.parameters())
    assert numbers / tokens == pytest.approx((4 * 6 if tokens == 100 else 5) + 6 + 1, rel=0.1)


def test_the_state_is_that_of_its_layers_in_order():
    model = RecurrentModel(RecurrentConfig(cell="lstm", layers=2, cells=3), INPUTS, OUTPUTS)
    assert [spec.name for spec in model.state_specs] == ["h_0", "c_0", "h_1", "c_1"]
    state = tuple(torch.full((4, 3), float(i)) for i in range(4))
    h, c = model.stacked(state)
    assert h[:, 0, 0].tolist() == [0, 2]
    assert c[:, 0, 0].tolist() == [1, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.unstacked((h, c)), state, strict=True))


def test_model_knows_its_size():
    model = RecurrentModel(RecurrentConfig(layers=1, cells=3, embedding=2), 5, 4)
    assert model.parameter_count() == 5 * 2 + 4 * 3 * (2 + 3 + 2) + 4 * 3 + 4

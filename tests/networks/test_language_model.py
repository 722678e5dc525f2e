"""What every kind of network must do, for each of those that there are."""

import pytest
import torch

from networks.config import DropoutRates
from networks.dropout import Dropout
from networks.recurrent.config import RecurrentConfig
from networks.registry import NETWORKS
from tests.networks.window import WINDOWS, WindowConfig

INPUTS, OUTPUTS = 12, 11
KINDS = [
    (NETWORKS, RecurrentConfig("lstm", 2, 7, 5)),
    (NETWORKS, RecurrentConfig("gru", 1, 6, 0)),
    (NETWORKS, RecurrentConfig("rnn", 3, 5, 4)),
    (WINDOWS, WindowConfig(5, 3)),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[1].description)
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    networks, config = kind
    torch.manual_seed(0)
    return networks.build(config, INPUTS, OUTPUTS).eval()


def tokens(time=9, lanes=3, seed=1):
    return torch.randint(0, INPUTS, (time, lanes), generator=torch.Generator().manual_seed(seed))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@torch.no_grad()
def test_a_chunk_cut_in_two_is_the_chunk(model):
    read = tokens()
    whole, after = model(read, model.initial_state(3))
    first, state = model(read[:4], model.initial_state(3))
    second, end = model(read[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    for a, b in zip(end, after, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_the_step_is_the_model_and_stays_when_training_goes_on(model):
    read = tokens()
    expected, final = model(read, model.initial_state(3))
    step = model.step()
    for parameter in model.parameters():
        parameter.fill_(7)
    state, scores = step.initial_state(3), []
    for row in read:
        out, state = step(row, state)
        scores.append(out)
    torch.testing.assert_close(torch.stack(scores), expected, atol=1e-5, rtol=1e-5)
    for a, b in zip(state, final, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert list(step.specs) == list(model.state_specs)
    assert not any(parameter.requires_grad for parameter in step.parameters())


def test_states_are_as_they_are_specified(model):
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        _, after = model(tokens(), model.initial_state(3))
    for state in (model.initial_state(3), model.detached(after)):
        for spec, part in zip(model.state_specs, state, strict=True):
            assert part.shape == (3, *spec.shape)
            assert str(part.dtype) == f"torch.{spec.dtype}"
            assert not part.requires_grad
    fresh = model.initial_state(2)
    for spec, part in zip(model.state_specs, fresh, strict=True):
        assert torch.equal(part, torch.from_numpy(spec.initial_rows(2)))
    assert set(model.embedding_state) <= {spec.name for spec in model.state_specs}


def test_a_state_of_lower_precision_gets_its_type_back(model):
    state = model.initial_state(2)
    lower = tuple(part.bfloat16() if part.is_floating_point() else part for part in state)
    assert [part.dtype for part in model.detached(lower)] == [part.dtype for part in state]


def test_lanes_do_not_touch_each_other(model):
    read = tokens(lanes=4)
    with torch.no_grad():
        _, state = model(read, model.initial_state(4))
        both, _ = model(read, state)
        alone, _ = model(read[:, 2:3], tuple(part[2:3] for part in state))
    torch.testing.assert_close(alone, both[:, 2:3])


def test_rates_of_0_drop_nothing_and_draw_nothing(model):
    read, state = tokens(), model.initial_state(3)
    before = torch.get_rng_state()
    expected, after = model(read, state)
    scores, end = model(read, state, Dropout(DropoutRates()))
    assert torch.equal(scores, expected)
    assert same(end, after)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_parameters_of_single_tokens_have_an_entry_for_each(model):
    axes = model.vocabulary_axes
    sizes = {"inputs": INPUTS, "outputs": OUTPUTS}
    for name, (axis, counted) in axes.items():
        assert model.get_parameter(name).shape[axis] == sizes[counted]
    others = [p for name, p in model.named_parameters() if name not in axes]
    assert not any(size in (INPUTS, OUTPUTS) for p in others for size in p.shape)


def test_the_size_is_counted_without_making_the_model(kind, model):
    networks, config = kind
    assert networks.size(config, INPUTS, OUTPUTS) == model.parameter_count()


def test_a_config_comes_back_from_json_and_is_sized_once(kind):
    networks, config = kind
    assert networks.read(config.to_json()) == config
    assert config.sized(10) == config.sized(10**9) == config
    fresh = type(config)()
    assert fresh.sized(10) != fresh, "a default is left open"
    assert fresh.sized(10).sized(10**9) == fresh.sized(10)
    assert all(name in vars(config) for name in config.size_options)
    assert f"--{config.size_options[0]}" in config.smaller_hint()
    assert f"--{config.size_options[0]}" in config.larger_hint()


def test_stronger_dropout_drops_no_less(kind):
    _, config = kind
    weak, strong = (vars(config.suited_dropout(strength)) for strength in (0.3, 1.0))
    assert all(weak[name] <= strong[name] for name in weak)
    assert set(vars(config.suited_dropout(0)).values()) == {0}

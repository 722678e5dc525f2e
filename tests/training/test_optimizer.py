import pytest
import torch
from torch import nn

from charloom.errors import ConfigError
from training.optimizer import Optimizer, OptimizerConfig
from training.schedule import RunConfig, Schedule


def learner(**values):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, Optimizer(model, OptimizerConfig(**values), {"weight": 2})


def test_the_cosine_rises_and_falls():
    _, optimizer = learner(learning_rate=1.0, warmup=9)
    assert optimizer.rate(0, 0, 0.0) == pytest.approx(0.1)
    assert optimizer.rate(9, 0, 0.0) == pytest.approx(1.0)
    assert optimizer.rate(50, 0, 0.5) == pytest.approx(0.505)
    assert optimizer.rate(99, 0, 1.0) == pytest.approx(0.01)
    assert optimizer.rate(99, 0, 1.5) == pytest.approx(0.01)


def test_a_linear_schedule_rises_and_falls():
    _, optimizer = learner(learning_rate=1.0, warmup=9, schedule="linear")
    assert optimizer.rate(0, 0, 0.0) == pytest.approx(0.1)
    assert optimizer.rate(50, 0, 0.25) == pytest.approx(0.01 + 0.99 * 0.75)
    assert optimizer.rate(99, 0, 1.5) == pytest.approx(0.01)


def test_weights_decay_and_biases_do_not():
    model, optimizer = learner(weight_decay=0.5)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer.step(0 * (model.weight.sum() + model.bias.sum()), 0.1)
    torch.testing.assert_close(model.weight.detach(), 0.95 * weight)
    assert torch.equal(model.bias, bias)


def test_the_epochs_schedule_is_that_of_char_rnn():
    _, optimizer = learner(learning_rate=2e-3, schedule="epochs", decay=0.97, decay_after=10)
    rates = [optimizer.rate(0, epoch, 0.9) / 2e-3 for epoch in range(12)]
    assert rates == pytest.approx([1.0] * 10 + [0.97, 0.97**2])


@pytest.mark.parametrize(("kind", "tensors"), [("adamw", 6), ("muon", 4), ("rmsprop", 4)])
def test_what_it_remembers_can_be_restored(kind, tensors):
    data = torch.randn(8, 3)

    def go(model, optimizer, steps):
        for _ in range(steps):
            optimizer.step(model(data).square().mean(), 1e-2)

    model, optimizer = learner(optimizer=kind)
    go(model, optimizer, 3)
    copy, restored = learner(optimizer=kind)
    copy.load_state_dict(model.state_dict())
    restored.restore({name: value.clone() for name, value in optimizer.tensors().items()})
    assert len(optimizer.tensors()) == tensors
    go(model, optimizer, 3)
    go(copy, restored, 3)
    assert torch.equal(model.weight, copy.weight)


def test_muon_has_a_rate_of_its_own_that_rises_and_falls_with_the_other():
    model, optimizer = learner(optimizer="muon", learning_rate=1e-3, hidden_rate=0.04, hidden_decay=0.5)
    weight = model.weight.detach().clone()
    optimizer.step(0 * (model.weight.sum() + model.bias.sum()), 5e-4)
    torch.testing.assert_close(model.weight.detach(), (1 - 0.02 * 0.5) * weight)


@pytest.mark.parametrize(("by", "expected"), [("norm", 2.0), ("value", 2.0 * 2**0.5)])
def test_gradients_are_clipped(by, expected):
    model, optimizer = learner(clip=2.0, clip_by=by)
    optimizer.step(1000 * model.bias.sum() + 0 * model.weight.sum(), 1e-3)
    assert model.bias.grad.norm().item() == pytest.approx(expected, 1e-4)


@pytest.mark.parametrize(
    "values",
    [{"learning_rate": 0}, {"learning_rate": float("nan")}, {"optimizer": "sgd"}, {"clip": -1}, {"decay": 0}],
)
def test_bad_values_are_refused(values):
    with pytest.raises(ConfigError):
        OptimizerConfig(**values)


def test_the_schedule_fills_in_what_is_left_open():
    assert Schedule.of(RunConfig(), 1_000_000, 500) == Schedule(15 * 500, 0, 500)
    assert Schedule.of(RunConfig(), 10_000, 5).steps == 100 * 5
    assert Schedule.of(RunConfig(), 10**9, 10**6).steps == 15_000
    assert Schedule.of(RunConfig(), 10**9, 10**6).interval == 1_500
    long = Schedule.of(RunConfig(), 10**9, 10**6, 10**6)
    assert (long.interval, long.held_out) == (1_500, 500_000)
    assert Schedule.of(RunConfig(), 10**9, 10**6, 400_000).held_out == 400_000
    assert Schedule.of(RunConfig(epochs=0.01), 10**6, 500, 10**5).held_out == 65_536
    assert Schedule.of(RunConfig(epochs=0.5), 1_000_000, 500).steps == 250
    assert Schedule.of(RunConfig(epochs=1e-9), 1_000_000, 500).steps == 1
    assert Schedule.of(RunConfig(), 10_000, 5).interval == 250
    assert not Schedule(70, 0, 3, held_out=1000).enough(999, 1e9)
    assert Schedule(70, 0, 3, held_out=1000).enough(1000, 0)
    assert not Schedule(70, 120, 3, held_out=1000).enough(999, 5.9)
    assert Schedule(70, 120, 3, held_out=1000).enough(1, 6)
    timed = Schedule.of(RunConfig(epochs=7, max_minutes=2, evaluate_every=3), 1000, 10)
    assert timed == Schedule(70, 120, 3)
    assert timed.progress(7, 60) == 0.5
    assert timed.progress(63, 60) == 0.9

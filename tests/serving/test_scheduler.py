"""How long bursts are, and who is in them."""

from collections.abc import Callable
from typing import Any

import pytest

from charloom.errors import ConfigError
from serving.engine.request import Stream
from serving.engine.scheduler import Scheduler, SchedulerConfig, StepCost

Make = Callable[..., Any]


def scheduler(ask: Make, *lengths: int, **config: Any) -> Scheduler:
    """A scheduler with running streams that have so many steps left."""
    result = Scheduler(SchedulerConfig(**config))
    for length in lengths:
        stream = Stream(ask("a", max_tokens=length - 1), last=0)
        result.add(stream)
        result.promote(stream)
    return result


def test_nothing_runs_where_nothing_is() -> None:
    assert Scheduler(SchedulerConfig()).plan() is None


def test_the_first_burst_is_short_because_its_cost_is_unknown(ask: Make) -> None:
    assert scheduler(ask, 50).plan().steps == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 20), (0.005, 4), (0.5, 1), (0.00001, 32)])
def test_a_burst_fits_the_latency_budget(ask: Make, seconds: float, steps: int) -> None:
    subject = scheduler(ask, 100, latency_budget=0.0201, max_burst=32)
    subject.cost.learn(rows=1, steps=10, elapsed=10 * seconds)
    assert subject.plan().steps == steps  # type: ignore[union-attr]


def test_no_burst_is_longer_than_its_longest_row(ask: Make) -> None:
    subject = scheduler(ask, 3, 7)
    subject.cost.learn(rows=2, steps=1, elapsed=1e-6)
    assert subject.plan().steps == 7  # type: ignore[union-attr]


def test_cost_is_told_apart_by_batch_size_and_follows_what_is_measured() -> None:
    cost = StepCost()
    cost.learn(rows=1, steps=1, elapsed=0.001)
    cost.learn(rows=200, steps=1, elapsed=0.1)
    assert cost.estimate(1) == 0.001
    assert cost.estimate(256) == cost.estimate(150) == 0.1
    for _ in range(50):
        cost.learn(rows=1, steps=1, elapsed=0.002)
    assert cost.estimate(1) == pytest.approx(0.002, rel=1e-3)


@pytest.mark.parametrize("field", ["max_streams", "max_burst", "latency_budget", "buffer_tokens"])
def test_unusable_settings_are_named(field: str) -> None:
    with pytest.raises(ConfigError, match=field.replace("_", "-")):
        SchedulerConfig(**{field: 0})

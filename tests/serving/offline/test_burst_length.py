"""Bursts are as long as delivers the most tokens a second."""

import numpy as np
import pytest

from serving.offline.burst_length import PROBES, SAMPLES, BurstLength, survival

ROWS = 64


def settled(fixed: float, each: float, lengths: np.ndarray) -> BurstLength:
    """After bursts of this cost, and attempts of these lengths."""
    length = BurstLength()
    for _ in range(SAMPLES * len(PROBES)):
        steps = length.choose(np.zeros(ROWS, np.int64), np.full(ROWS, 1000))
        length.record(steps, fixed + each * steps)
    length.ended(lengths)
    return length


def test_a_share_goes_on_beyond_each_age() -> None:
    ended = np.bincount(np.random.default_rng(1).geometric(1 / 40, 200_000), minlength=4097)[:4097]
    goes_on, tokens = survival(ended)
    assert goes_on[0] == pytest.approx(1, abs=1e-3)
    assert goes_on[40] == pytest.approx((1 - 1 / 40) ** 40, rel=0.02)
    assert tokens[-1] == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize(("fixed", "steps"), [(0.0, 1), (0.5, 6), (2.0, 12), (1e3, 96)])
def test_what_a_burst_costs_beside_its_steps_makes_it_longer(fixed: float, steps: int) -> None:
    """About the square root of twice the cost times the mean length, while that is short."""
    length = settled(fixed, 1.0, np.random.default_rng(1).geometric(1 / 40, 50_000))
    chosen = length.choose(np.zeros(ROWS, np.int64), np.full(ROWS, 1000))
    assert steps / 1.7 <= chosen <= steps * 1.7


def test_attempts_of_one_length_end_with_the_burst() -> None:
    length = settled(1.0, 1.0, np.full(10_000, 12))
    assert length.choose(np.zeros(ROWS, np.int64), np.full(ROWS, 1000)) == 12


def test_no_burst_is_longer_than_what_is_left() -> None:
    length = settled(1e3, 1.0, np.full(10, 500))
    assert length.choose(np.zeros(ROWS, np.int64), np.full(ROWS, 7)) == 7

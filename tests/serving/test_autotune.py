"""Which strategy runs: the fastest, soon after it is that, and rarely another."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.autotune import MARGIN, MAX_RETRY, RETRY, SAMPLES, Autotuner

SECONDS = st.floats(1e-6, 1.0)


def drive(tuner: Autotuner, seconds: Sequence[float], bursts: int, rows: int = 8) -> list[int]:
    """Runs bursts on a machine where a step takes so long by each strategy; returns the strategies."""
    picked = []
    for _ in range(bursts):
        strategy = tuner.pick(rows, range(len(seconds)))
        tuner.record(strategy, rows, steps=4, seconds=4 * seconds[strategy])
        picked.append(strategy)
    return picked


@given(st.lists(SECONDS, min_size=2, max_size=4))
def test_nearly_all_bursts_run_by_a_strategy_that_is_about_the_fastest(seconds: list[float]) -> None:
    first, later = (Counter(drive(Autotuner(), seconds, n)) for n in (SAMPLES * len(seconds), 1000))
    assert set(first.values()) == {SAMPLES}
    good = [
        strategy
        for strategy, time in enumerate(seconds)
        if MARGIN ** (len(seconds) - 1) * time <= min(seconds)
    ]
    assert sum(later[strategy] for strategy in good) > 900


def test_of_about_equal_ones_it_is_the_first() -> None:
    assert Counter(drive(Autotuner(), [1.05, 1.0, 1.1], 500)).most_common(1)[0][0] == 0


def test_a_strategy_that_becomes_faster_is_found_and_one_that_becomes_slower_is_left_at_once() -> None:
    tuner = Autotuner()
    drive(tuner, [2.0, 1.0], 2000)
    assert drive(tuner, [2.0, 9.0], 10)[-5:] == [0] * 5
    drive(tuner, [2.0, 9.0], 4000)
    assert drive(tuner, [2.0, 1.0], MAX_RETRY + SAMPLES)[-1] == 1


def test_slower_ones_are_measured_ever_less_often() -> None:
    picked = drive(Autotuner(), [1.0, 2.0], 20_000)
    tried = [burst for burst, strategy in enumerate(picked) if strategy == 1][SAMPLES:]
    gaps = [later - sooner for sooner, later in pairwise(tried)]
    assert gaps[0] == 2 * RETRY
    assert gaps == sorted(gaps)
    assert gaps[-1] == MAX_RETRY


def test_one_slow_burst_changes_nothing() -> None:
    tuner = Autotuner()
    drive(tuner, [2.0, 1.0], 20)
    tuner.record(1, 8, 1, 100.0)
    assert drive(tuner, [2.0, 1.0], 3) == [1, 1, 1]


def test_sizes_are_told_apart() -> None:
    tuner = Autotuner()
    drive(tuner, [1.0, 2.0], 50, rows=2)
    drive(tuner, [2.0, 1.0], 50, rows=200)
    assert (drive(tuner, [1.0, 2.0], 1, rows=3), drive(tuner, [2.0, 1.0], 1, rows=255)) == ([0], [1])


def test_a_strategy_that_always_fails_is_not_preferred() -> None:
    tuner = Autotuner()
    picked = []
    for _ in range(100):
        strategy = tuner.pick(8, range(2))
        picked.append(strategy)
        if strategy == 1:
            tuner.record(strategy, 8, 1, 1.0)
    assert picked[2 * SAMPLES :].count(1) > 80


def test_what_cannot_be_used_is_not_picked() -> None:
    tuner = Autotuner()
    assert {tuner.pick(1, [0, 2]) for _ in range(100)} == {0, 2}
    assert {tuner.pick(1, [1]) for _ in range(100)} == {1}

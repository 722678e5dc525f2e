"""Refused clients are told to wait, none for long, and no two of them until the same moment."""

from collections import Counter
from heapq import heapreplace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.retry_after import MAX_WAIT, MIN_WAIT, SPACING, RetryAfter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=60))
def test_nobody_waits_too_short_or_too_long(pauses: list[float]) -> None:
    clock = Clock()
    retry_after = RetryAfter(clock)
    for pause in pauses:
        clock.now += pause
        assert MIN_WAIT - 1e-9 <= retry_after.next() <= MAX_WAIT + 1e-9


def test_a_crowd_comes_back_one_by_one() -> None:
    clock = Clock()
    retry_after = RetryAfter(clock)
    room = round((MAX_WAIT - MIN_WAIT) / SPACING)
    crowd = [retry_after.next() for _ in range(room)]
    assert all(later - sooner > SPACING / 2 for sooner, later in pairwise(crowd))


def test_a_crowd_that_obeys_asks_at_a_bounded_rate() -> None:
    """Ten thousand come at once; from then on no second sees many more than another."""
    clock = Clock()
    retry_after = RetryAfter(clock)
    due = [clock.now] * 10_000
    asked: Counter[int] = Counter()
    while due[0] < 1180:
        clock.now = max(clock.now, due[0])
        heapreplace(due, clock.now + retry_after.next())
        asked[int(clock.now) - 1000] += 1
    rates = [asked[second] for second in range(90, 180)]
    assert max(rates) <= 2 * 10_000 / (MAX_WAIT - MIN_WAIT)


def test_who_comes_alone_need_not_wait_for_long() -> None:
    clock = Clock()
    retry_after = RetryAfter(clock)
    for _ in range(100):
        retry_after.next()
    clock.now += 100
    assert retry_after.next() == MIN_WAIT

"""Which way bursts go: the fastest, soon after it is that, and seldom another."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.ways import AGAIN, FASTER, SELDOM, TRIES, Ways

SECONDS = st.floats(1e-6, 1.0)


def drive(ways: Ways, seconds: Sequence[float], bursts: int, rows: int = 8) -> list[int]:
    """Runs bursts of a machine on which a step takes so long in each way; gives the ways they went."""
    picked = []
    for _ in range(bursts):
        way = ways.pick(rows, range(len(seconds)))
        ways.learn(way, rows, steps=4, seconds=4 * seconds[way])
        picked.append(way)
    return picked


@given(st.lists(SECONDS, min_size=2, max_size=4))
def test_nearly_all_bursts_go_a_way_that_is_about_the_fastest(seconds: list[float]) -> None:
    first, later = (Counter(drive(Ways(), seconds, n)) for n in (TRIES * len(seconds), 1000))
    assert set(first.values()) == {TRIES}
    good = [way for way, time in enumerate(seconds) if FASTER ** (len(seconds) - 1) * time <= min(seconds)]
    assert sum(later[way] for way in good) > 900


def test_of_about_equal_ones_it_is_the_first() -> None:
    assert Counter(drive(Ways(), [1.05, 1.0, 1.1], 500)).most_common(1)[0][0] == 0


def test_a_way_that_becomes_faster_is_found_and_one_that_becomes_slower_is_left_at_once() -> None:
    ways = Ways()
    drive(ways, [2.0, 1.0], 2000)
    assert drive(ways, [2.0, 9.0], 10)[-5:] == [0] * 5
    drive(ways, [2.0, 9.0], 4000)
    assert drive(ways, [2.0, 1.0], SELDOM + TRIES)[-1] == 1


def test_others_are_tried_ever_more_seldom() -> None:
    picked = drive(Ways(), [1.0, 2.0], 20_000)
    tried = [burst for burst, way in enumerate(picked) if way == 1][TRIES:]
    gaps = [later - sooner for sooner, later in pairwise(tried)]
    assert gaps[0] == 2 * AGAIN
    assert gaps == sorted(gaps)
    assert gaps[-1] == SELDOM


def test_one_slow_burst_changes_nothing() -> None:
    ways = Ways()
    drive(ways, [2.0, 1.0], 20)
    ways.learn(1, 8, 1, 100.0)
    assert drive(ways, [2.0, 1.0], 3) == [1, 1, 1]


def test_sizes_are_told_apart() -> None:
    ways = Ways()
    drive(ways, [1.0, 2.0], 50, rows=2)
    drive(ways, [2.0, 1.0], 50, rows=200)
    assert (drive(ways, [1.0, 2.0], 1, rows=3), drive(ways, [2.0, 1.0], 1, rows=255)) == ([0], [1])


def test_a_way_that_always_fails_is_not_preferred() -> None:
    ways = Ways()
    picked = []
    for _ in range(100):
        way = ways.pick(8, range(2))
        picked.append(way)
        if way == 1:
            ways.learn(way, 8, 1, 1.0)
    assert picked[2 * TRIES :].count(1) > 80


def test_what_cannot_be_used_is_not_picked() -> None:
    ways = Ways()
    assert {ways.pick(1, [0, 2]) for _ in range(100)} == {0, 2}
    assert {ways.pick(1, [1]) for _ in range(100)} == {1}

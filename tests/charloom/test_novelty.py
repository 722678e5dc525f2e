"""The novelty filter: never new what is not, hardly ever the other way round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.novelty import NoveltyFilter
from charloom.records.record_hash import record_hash


@given(st.sets(st.text(), min_size=1, max_size=50), st.floats(0.001, 0.5))
def test_what_was_added_is_held(texts: set[str], rate: float) -> None:
    novelty = NoveltyFilter.sized(len(texts), rate)
    novelty.add([record_hash(text) for text in texts])
    again = NoveltyFilter(np.frombuffer(novelty.bits.tobytes(), np.uint8), novelty.probes)
    assert again.holds([record_hash(text) for text in texts]).all()


@pytest.mark.parametrize("rate", [0.05, 1e-3])
def test_others_are_held_as_often_as_it_says(rate: float) -> None:
    novelty = NoveltyFilter.sized(20_000, rate)
    novelty.add([record_hash(f"a{i}") for i in range(20_000)])
    assert novelty.false_positive_rate == pytest.approx(rate, rel=0.15)
    held = int(novelty.holds([record_hash(f"b{i}") for i in range(100_000)]).sum())
    expected = 100_000 * novelty.false_positive_rate
    assert abs(held - expected) < 5 * expected**0.5


def test_an_empty_filter_holds_nothing() -> None:
    novelty = NoveltyFilter.sized(0)
    assert novelty.false_positive_rate == 0
    assert not novelty.holds([record_hash("a")]).any()

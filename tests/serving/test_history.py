"""A history goes back to any token that it has not forgotten, and remembers no more than it must."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charloom.vocabulary import no_tokens
from serving.engine.history import History
from serving.engine.snapshot import Snapshot

PARTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


def at(position: int) -> Snapshot:
    """A snapshot whose last token says where it is."""
    return Snapshot({}, last=position, position=position, recent=no_tokens())


@given(parts=PARTS, limit=st.integers(0, 30), begin=st.integers(0, 5), data=st.data())
def test_goes_back_to_every_token_within_its_limit(
    parts: list[tuple[int, int]], limit: int, begin: int, data: st.DataObject
) -> None:
    history, end = History.of(at(begin), limit), begin
    for one, other in parts:
        tokens = np.arange(end, end + one + other)
        history = history.extended(tokens, [at(end + one), at(end + one + other)])
        end += one + other
    assert history.here.position == end
    assert history.known == min(limit, end - begin)
    assert len(history.tokens) <= limit + 18, "what is too long ago is forgotten"
    count = data.draw(st.integers(0, history.known))
    kept, to_read = history.back(count)
    target = end - count
    assert kept.here.position <= target
    assert to_read.tolist() == list(range(kept.here.position, target))
    assert history.newest(count).tolist() == list(range(target, end))
    again = kept.extended(to_read, [at(target)])
    assert again.here.position == target
    assert again.known == min(limit, target - history.snapshots[0].position)

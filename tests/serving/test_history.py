"""A history goes back to any token that it has not forgotten, and remembers no more than it must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.vocabulary import CharacterVocabulary, no_tokens
from serving.engine.history import SPARSER, History, Tail
from serving.engine.snapshot import Snapshot
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary

PARTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


def at(position: int) -> Snapshot:
    """A snapshot whose last token says where it is."""
    return Snapshot({}, last=position, position=position, recent=no_tokens())


@given(
    parts=PARTS, limit=st.integers(0, 30), apart=st.integers(1, 20), begin=st.integers(0, 5), data=st.data()
)
def test_goes_back_to_every_token_within_its_limit(
    parts: list[tuple[int, int]], limit: int, apart: int, begin: int, data: st.DataObject
) -> None:
    history, end = History.of(at(begin), limit, apart), begin
    for one, other in parts:
        tokens = np.arange(end, end + one + other)
        history = history.extended(tokens, [at(end + one), at(end + one + other)])
        end += one + other
    assert history.here.position == end
    assert history.known == min(limit, end - begin)
    assert len(history.tokens) <= limit + max(apart, 9), "what is too long ago is forgotten"
    assert len(history.snapshots) <= 2 * len(history.tokens) / apart + 2
    count = data.draw(st.integers(0, history.known))
    kept, to_read = history.back(count)
    target = end - count
    assert kept.here.position <= target
    assert to_read.tolist() == list(range(kept.here.position, target))
    assert len(to_read) < max(apart, 9)
    assert history.tail(LETTERS).tokens.tolist() == list(range(end - history.known, end))
    again = kept.extended(to_read, [at(target)])
    assert again.here.position == target
    assert again.known == min(limit, target - history.snapshots[0].position)


def test_a_stream_that_is_fed_by_single_tokens_keeps_few_snapshots() -> None:
    history = History.of(at(0), 1000, 100)
    for end in range(1, 3000):
        history = history.extended(np.array([end - 1]), [at(end)])
        assert len(history.snapshots) <= 1000 / 100 + 3
    for count in range(1001):
        kept, to_read = history.back(count)
        assert to_read.tolist() == list(range(kept.here.position, 2999 - count))
        assert len(to_read) < 100, "snapshots are no further apart than they may be"


@given(
    limit=st.integers(0, 3000),
    apart=st.integers(1, 300),
    fed=st.lists(st.integers(0, 5000), max_size=4),
    data=st.data(),
)
def test_who_goes_back_after_a_long_text_reads_little_of_it_again(
    limit: int, apart: int, fed: list[int], data: st.DataObject
) -> None:
    history, end = History.of(at(0), limit, apart), 0
    for length in fed:
        for part in history.parts(np.arange(end, end + length)):
            end += len(part)
            history = history.extended(part, [at(end)])
    assert end == sum(fed)
    assert len(history.tokens) <= max(limit, min(limit * SPARSER, end)) + apart * SPARSER
    count = data.draw(st.integers(0, history.known))
    _, to_read = history.back(count)
    assert len(to_read) <= 3 * max(count, apart)


@pytest.mark.parametrize(("limit", "apart"), [(1000, 16), (3000, 50), (500, 500)])
def test_however_far_one_goes_back_after_a_long_text_little_is_read_again(limit: int, apart: int) -> None:
    """Every distance, where the property above looks at some."""
    history, end = History.of(at(0), limit, apart), 0
    for part in history.parts(np.arange(5000)):
        end += len(part)
        history = history.extended(part, [at(end)])
    assert history.known == limit
    for count in range(limit + 1):
        kept, to_read = history.back(count)
        assert kept.here.position + len(to_read) == 5000 - count
        assert len(to_read) <= 3 * max(count, apart)


LETTERS = CharacterVocabulary("ab")
BYTES = BytePairVocabulary()
PIECES = st.sampled_from(BYTES.encode("é你🚀 the and\n\ne\u0301x").tolist())


@given(tokens=st.lists(PIECES, max_size=20), known=st.integers(0, 20), data=st.data())
def test_the_tokens_of_the_last_characters_leave_whole_characters(
    tokens: list[int], known: int, data: st.DataObject
) -> None:
    first = max(0, len(tokens) - known)
    tail = Tail(BYTES, np.array(tokens[:first], np.int64), np.array(tokens[first:], np.int64))
    text = BYTES.decode(tokens)
    count = data.draw(st.integers(0, tail.characters))
    end = tail.last_characters(count)
    assert end.tokens <= len(tail.tokens)
    left = np.array(tokens[: len(tokens) - end.tokens], np.int64)
    assert BYTES.decode(left) + end.stays + end.goes == text
    assert len(end.goes) == count
    assert not count or not BYTES.decoder(left).unfinished
    again = np.concatenate([left, BYTES.encode(end.stays)])
    assert BYTES.decode(again) == text[: len(text) - count]


@given(tokens=st.lists(PIECES, max_size=20), data=st.data())
def test_the_text_of_the_last_tokens_is_what_they_completed(tokens: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(tokens)))
    end = Tail(BYTES, no_tokens(), np.array(tokens, np.int64)).last_tokens(count)
    assert BYTES.decode(tokens[: len(tokens) - count]) + end.goes == BYTES.decode(tokens)
    assert (end.tokens, end.stays) == (count, "")

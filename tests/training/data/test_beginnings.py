import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.vocabulary import Ids
from training.data import beginnings
from training.data.beginnings import any_places, line_beginnings

NEWLINE = 0


def of(text: str) -> Ids:
    """Ids of a text of letters, in which a stroke is the newline."""
    return np.array([NEWLINE if letter == "/" else ord(letter) for letter in text], np.uint16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", [0]),
        ("/", []),
        ("ab/cd//e/", [0, 3, 7]),
        ("//a/", [2]),
        ("ab/", [0]),
        ("ab/c", [0, 3]),
    ],
)
def test_lines_begin_after_newlines_and_at_the_beginning_unless_they_are_empty(text, expected):
    assert line_beginnings(of(text), NEWLINE).tolist() == expected


@given(st.text("ab/", max_size=60), st.integers(1, 20), st.integers(1, 9))
def test_a_table_is_thinned_evenly_wherever_blocks_end(text, most, block):
    whole = line_beginnings(of(text), NEWLINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beginnings, "BLOCK", block)
        thinned = line_beginnings(of(text), NEWLINE, most)
    stride = 1
    while len(whole[::stride]) > most:
        stride *= 2
    assert thinned.tolist() == whole[::stride].tolist()


def test_the_memory_of_a_text_is_given_back_block_by_block(monkeypatch):
    released = []
    monkeypatch.setattr(beginnings, "release", released.append)
    monkeypatch.setattr(beginnings, "BLOCK", 2)
    assert line_beginnings(of("ab/cd"), NEWLINE).tolist() == [0, 3]
    assert len(released) == 3


@pytest.mark.parametrize(("length", "most", "count"), [(5, 9, 5), (9, 9, 9), (10, 9, 5), (1000, 9, 9)])
def test_any_places_are_evenly_apart(length, most, count):
    places = any_places(length, most)
    assert len(places) == count
    assert len(set(np.diff(places).tolist())) == 1
    assert 0 == places[0] <= places[-1] < length

"""Plain text is divided alike however it is cut into pieces, and comes back as it was joined."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.records.changes import RecordChanges
from charloom.records.plain import delimited, lines, paragraphs, split

LINE = st.text("ab \té-", min_size=1, max_size=8)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=20)
DELIMITERS = st.sampled_from(["---", "<|endoftext|>", "\n\n\n", "\0", "\n", "aa", "aba"])


def pieces(text: str, cuts: list[int]) -> Iterator[str]:
    """A text in pieces of these lengths, and the rest of it."""
    for cut in cuts:
        if text:
            yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def parts(text: str, delimiter: str) -> list[str]:
    return list(delimited([text], delimiter, RecordChanges()))


@given(text=st.text("ab-<|endoftxt>\n\0", max_size=40), delimiter=DELIMITERS, cuts=CUTS)
def test_a_text_in_pieces_is_split_as_the_whole(text: str, delimiter: str, cuts: list[int]) -> None:
    assert list(split(pieces(text, cuts), delimiter)) == text.split(delimiter)


@given(records=st.lists(LINE, max_size=8), cuts=CUTS, end=st.sampled_from(["", "\n"]))
def test_lines_come_back(records: list[str], cuts: list[int], end: str) -> None:
    text = "\n".join(records) + end if records else ""
    assert list(lines(pieces(text, cuts))) == records


@given(
    records=st.lists(st.lists(LINE.filter(str.strip), min_size=1, max_size=3).map("\n".join), max_size=6),
    blank=st.sampled_from(["\n\n", "\n\n\n", "\n \t\n"]),
    around=st.sampled_from(["", "\n", "\n  \n"]),
    cuts=CUTS,
)
def test_paragraphs_come_back(records: list[str], blank: str, around: str, cuts: list[int]) -> None:
    assert list(paragraphs(pieces(around + blank.join(records) + around, cuts))) == records


@given(
    records=st.lists(st.text("ab\n-", min_size=1, max_size=8), max_size=6),
    cuts=CUTS,
)
def test_records_with_a_delimiter_on_a_line_of_its_own_come_back(records: list[str], cuts: list[int]) -> None:
    text = "".join(f"{record}\n<->\n" for record in records)
    changes = RecordChanges()
    assert list(delimited(pieces(text, cuts), "<->", changes)) == records
    assert changes.delimiters == len(records)


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("a---b", ["a", "b"]),
        ("a\n---\nb\n", ["a", "b"]),
        ("a---\nb---\n", ["a", "b"]),  # it ends a line
        ("---a\n---b\n", ["a", "b"]),  # it begins one
        ("a\n\n---\n\nb", ["a\n", "\nb"]),  # one line end on either side, no more
        ("\na---", ["\na"]),
        ("a------b", ["a", "", "b"]),
        ("a---\n---b", ["a", "", "b"]),
        ("---", []),
        ("a", ["a"]),
        ("", []),
        ("a----b", ["a", "-b"]),
    ],
)
def test_a_line_end_beside_a_delimiter_belongs_to_it(text: str, records: list[str]) -> None:
    assert parts(text, "---") == records


def test_a_record_of_many_pieces_is_looked_at_once() -> None:
    count = 20_000
    (record,) = delimited(("ab" for _ in range(count)), "<|endoftext|>", RecordChanges())
    assert record == "ab" * count

"""Text files are read alike everywhere: in pieces as at once, with plain line ends, and refused by name."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charloom import text_file
from charloom.errors import CharloomError
from charloom.text_file import (
    BinaryTextError,
    EncodingError,
    UnreadableTextError,
    numbered_lines,
    opened,
    read_stream,
    read_text,
)

WORDS = st.sampled_from(
    ["a", "\n", "\r\n", "\r", "\r\r\n", "\ufeff", "ж", "你", "🧵", "x" * 40, *"\x80\xe9\xf0\x9f\xff\0"]
)


def outcome(path):
    """What reading a file gives: its text and notes, or the error."""
    try:
        return read_text(path)
    except CharloomError as error:
        return type(error), str(error)


@given(words=st.lists(WORDS, max_size=60), piece=st.integers(64, 80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_in_pieces_is_the_text_as_a_whole(words, piece, tmp_path):
    path = tmp_path / "a.txt"
    # Single characters from \x80 on become bytes of their own, which are no UTF-8.
    path.write_bytes(b"".join(w.encode("latin-1" if w in "\x80\xe9\xf0\x9f\xff" else "utf-8") for w in words))
    whole = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "PIECE", piece)
        assert outcome(path) == whole


def test_a_nul_far_behind_a_malformed_byte_is_what_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "PIECE", 100)
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 50 + b"\xff" + b"b" * 500 + b"\0")
    with pytest.raises(BinaryTextError, match="at byte 551"):
        read_text(path)


def test_byte_order_mark_and_windows_line_ends_are_normalised(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n".encode())
    text, notes = read_text(path)
    assert text == "one\ntwo\n"
    assert "byte order mark" in notes[0]
    assert "2 line ends" in notes[1]
    path.write_bytes(b"one\r\ntwo\n")
    assert read_text(path)[1] == ("made 1 line end \\n that was \\r\\n",)


def test_returns_alone_are_line_ends_as_well(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\rtwo\r\nthree\r\rfour\r")
    text, notes = read_text(path)
    assert text == "one\ntwo\nthree\n\nfour\n"
    assert notes == ("made 1 line end \\n that was \\r\\n", "made 4 line ends \\n that were \\r alone")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"caf\xe9 cr\xe8me", "cp1252"),
        (b"caf\xe9 \x93cr\xe8me\x94", "cp1252"),
        (b"\x80 9.99", "cp1252"),
        ("“naïve” ".encode() + b"caf\xe9", "cp1252"),
    ],
)
def test_the_likeliest_encoding_is_named(tmp_path, data, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(EncodingError, match=f"iconv -f {encoding} -t utf-8"):
        read_text(path)


def lines_of(path: Path) -> list[tuple[int, str]]:
    with opened(path) as stream:
        return list(numbered_lines(read_stream(stream, str(path))))


@given(text=st.text("ab\r\n\u2028\0é", max_size=40), piece=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_are_those_of_the_text_however_it_is_cut(text: str, piece: int, tmp_path: Path) -> None:
    data = text.encode()
    assume(not any(text_file.wide_encoding(data[:end]) for end in range(len(data) + 1)))
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = plain.removesuffix("\n").split("\n") if plain else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "PIECE", piece)
        assert lines_of(path) == list(enumerate(expected, 1))


def test_lines_before_a_malformed_byte_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é\nb\nc\xff".encode("latin-1").replace(b"\xe9", "é".encode()))
    found = []
    named = pytest.raises(EncodingError, match="a is not UTF-8: byte 0xff at byte 6, line 3")
    with opened(tmp_path / "a.txt") as stream, named:
        found.extend(numbered_lines(read_stream(stream, "a")))
    assert [line for _, line in found] == ["é", "b"]


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UnreadableTextError, match="cannot read the text"):
            read_text(path)

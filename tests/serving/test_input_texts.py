"""The texts that a command reads: from files and lines, in groups, named in what is said against them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from charloom.text_file import UnreadableTextError
from charloom.vocabulary import CharacterVocabulary
from serving.commands.input_texts import (
    MAX_CHARACTERS,
    MAX_TEXTS,
    InputText,
    TextError,
    groups,
    named,
    read_input_texts,
)
from serving.engine.request import Request
from serving.engine.text_requests import texts_to_score


@pytest.fixture
def write(tmp_path: Path):
    def write(data: bytes, name: str = "a.txt") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_a_file_is_a_text_with_plain_line_ends(write) -> None:
    first, second = write("\ufeffé\r\nb\n".encode()), write(b"c", "b.txt")
    texts = list(read_input_texts([first, second], lines=False))
    assert texts == [InputText("é\nb\n", str(first)), InputText("c", str(second))]
    assert texts[0].label == texts[0].place == str(first)


def test_a_line_is_a_text(write) -> None:
    file = write("a b\r\n\n\tc\u2028d\n".encode() + b"e" * 100)
    texts = list(read_input_texts([file], lines=True))
    assert [(one.text, one.line) for one in texts] == [("a b", 1), ("\tc\u2028d", 3), ("e" * 100, 4)]
    assert texts[1].place == f"{file}, line 3"
    assert texts[1].label == "\\tc\\u2028d"
    assert texts[2].label == "e" * 60 + "…"


@pytest.mark.parametrize(
    ("data", "lines", "said"),
    [
        (b"", False, "there is no text in"),
        (b"\n\r\n\n", True, "there is no text in"),
        (b"ab\xffc", False, "is not UTF-8: byte 0xff at byte 2"),
        (b"ab\nc\xff", True, "is not UTF-8: byte 0xff at byte 4, line 2"),
        (b"\xed\xa0\x80", False, "is not UTF-8"),
        ("ab\n".encode("utf-16"), True, "looks like UTF-16: convert it first"),
    ],
)
def test_what_is_no_text_is_refused_by_name(write, data: bytes, lines: bool, said: str) -> None:
    file = write(data)
    with pytest.raises(CharloomError, match=said) as caught:
        list(read_input_texts([file], lines=lines))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableTextError, match="cannot read the text"):
        list(read_input_texts([tmp_path / name], lines=False))


def test_groups_are_no_larger_than_a_call_may_be() -> None:
    texts = [InputText("ab", "f", i) for i in range(300)]
    assert [len(group) for group in groups(iter(texts))] == [MAX_TEXTS, MAX_TEXTS, 300 - 2 * MAX_TEXTS]
    large = [InputText("x" * size, "f") for size in (MAX_CHARACTERS - 1, 1, 1, MAX_CHARACTERS + 1, 1)]
    assert [len(group) for group in groups(iter(large))] == [2, 1, 1, 1]
    assert list(groups(iter([]))) == []


def test_what_is_said_against_a_text_names_its_place() -> None:
    group = [InputText("a", "f", 1), InputText("b", "f", 2)]
    error = InvalidRequestError([Violation("texts[1]", "is odd"), Violation("prompt", "is long")])
    with pytest.raises(TextError, match=r"^f, line 2 is odd; prompt is long$"), named(group):
        raise error


@given(
    prompt=st.lists(st.integers(0, 9), max_size=8),
    replay=st.lists(st.integers(0, 9), max_size=8),
    data=st.data(),
)
def test_what_is_read_is_the_prompt_and_then_the_replay(
    prompt: list[int], replay: list[int], data: st.DataObject
) -> None:
    request = Request(np.array(prompt, np.int64), 0, 0, replay=np.array(replay, np.int64))
    assert request.forced == len(prompt) + len(replay)
    place = data.draw(st.integers(0, request.forced))
    count = data.draw(st.integers(0, request.forced - place))
    assert np.concatenate([*request.read(place, count)]).tolist() == (prompt + replay)[place : place + count]


def test_scored_texts_share_their_prompt() -> None:
    """A million characters and 128 texts were a gigabyte."""
    texts = texts_to_score(["a"] * 128, "ab" * 1000, CharacterVocabulary("ab"), skip=False)
    requests = [text.request for text in texts]
    first = requests[0]
    assert all(np.shares_memory(request.prompt, first.prompt) for request in requests)
    assert all(np.shares_memory(part, first.prompt) for part, _ in [first.read(0, 2001)])

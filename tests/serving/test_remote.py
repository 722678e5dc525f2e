"""A model on a server: no more is asked of it at a time than it takes, and errors name the text."""

from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import grpc
import pytest

from charloom.client import Client, RequestError
from charloom.client.piece import Piece
from charloom.options import GenerateOptions, InvalidRequestError, Violation
from serving.commands.remote import RemoteModel, in_parts


class Small:
    """A server that takes so many texts a call, of so many characters, and is busy at first."""

    def __init__(self, texts: int, characters: int = 1000, busy: int = 0) -> None:
        self.texts = texts
        self.characters = characters
        self.busy = busy
        self.calls: list[int] = []

    def ask(self, texts: Sequence[str]) -> list[str]:
        self.calls.append(len(texts))
        if self.busy:
            self.busy -= 1
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", [], 0.001)
        if len(texts) > self.texts:
            raise invalid("texts", f"must be 1 to {self.texts} here, not {len(texts)}")
        if sum(map(len, texts)) > self.characters:
            raise invalid("texts", f"must have at most {self.characters} characters")
        for index, text in enumerate(texts):
            if not text:
                raise invalid(f"texts[{index}]", "is empty")
        return [text.upper() for text in texts]


def invalid(field: str, reason: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, reason, [Violation(field, reason)])


TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]


@pytest.mark.parametrize("server", [Small(5), Small(2), Small(1), Small(5, 6), Small(5, busy=9)])
def test_all_texts_are_asked_for_in_order(server: Small) -> None:
    assert in_parts(server.ask, TEXTS) == [text.upper() for text in TEXTS]


def test_a_large_server_is_asked_once() -> None:
    server = Small(5)
    in_parts(server.ask, TEXTS)
    assert server.calls == [5]
    assert in_parts(server.ask, []) == []


@pytest.mark.parametrize("most", [1, 2, 5])
def test_an_error_names_the_text_by_its_own_index(most: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        in_parts(Small(most).ask, ["a", "b", "c", "", "d"])
    assert caught.value.violations == [Violation("texts[3]", "is empty")]


def test_a_text_that_is_too_long_by_itself_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"texts\[2\] must have at most 4 characters"):
        in_parts(Small(5, 4).ask, ["a", "b", "ccccc"])


def test_other_errors_are_left_as_they_are() -> None:
    error = RequestError(grpc.StatusCode.UNAVAILABLE, "gone")

    def ask(texts: Sequence[str]) -> list[str]:
        raise error

    with pytest.raises(RequestError) as caught:
        in_parts(ask, TEXTS)
    assert caught.value is error
    error = RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")
    with pytest.raises(RequestError, match="larger than max"):
        in_parts(ask, TEXTS[:1])


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not UTF-8"):
        in_parts(lambda texts: [text.encode() for text in texts], ["\udcff"])


def full(after: float = 0.001) -> RequestError:
    return RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", [], after)


class Generating:
    """A client whose calls end as they are told to, after so many pieces of each text."""

    def __init__(self, *calls: tuple[int, RequestError | None]) -> None:
        self.calls = list(calls)
        self.notes: list[str] = []
        self.endings: dict[int, str] = {}

    def generate(self, prompt: str, **options: Any) -> Self:
        return self

    def pieces(self) -> Iterator[Piece]:
        count, error = self.calls.pop(0)
        for number in range(count):
            yield Piece(f"{number}", [number], [], [], number)
        if error is not None:
            raise error


def texts_of(*calls: tuple[int, RequestError | None]) -> list[str]:
    model = RemoteModel(cast(Client, Generating(*calls)), "m")
    return [piece.text for piece in model.stream("", GenerateOptions(seed=1))]


def test_a_full_server_is_asked_again_before_there_is_text() -> None:
    assert texts_of((0, full()), (0, full()), (2, None)) == ["0", "1"]


def test_no_text_is_begun_twice() -> None:
    with pytest.raises(RequestError, match="full"):
        texts_of((2, full()), (3, None))

"""The texts that a command is given: files, or lines. It knows no model, and asks none."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError
from charloom.printable import printable

MOST_TEXTS = 128
MOST_CHARACTERS = 1_000_000
"""Of a group: what a call to a server may bring, unless the server was told otherwise."""
BEGINNING = 60
"""Characters of a line that stand for it."""
STANDARD_INPUT = "standard input"


class TextError(CharloomError):
    """A text cannot be read or used."""

    exit_code = 2


@dataclass(frozen=True)
class Given:
    """A text, and where it was found."""

    text: str
    file: str
    line: int | None = None
    """From 1; None where the text is the whole file."""

    @property
    def place(self) -> str:
        """Where it was found."""
        return self.file if self.line is None else f"{self.file}, line {self.line}"

    @property
    def label(self) -> str:
        """What stands for it on a line of output: a file's name, or how a line begins."""
        if self.line is None:
            return printable(self.file, strict=True)
        return printable(self.text[:BEGINNING], strict=True) + ("…" if len(self.text) > BEGINNING else "")


def read_texts(files: Sequence[Path], *, lines: bool) -> Iterator[Given]:
    """The texts of files, or of standard input if none is named: whole, or one a line that is not empty.

    Raises:
        TextError: one cannot be read, is not UTF-8, or is empty; or there is none at all.
    """
    none = True
    for file in files or (None,):
        name = STANDARD_INPUT if file is None else str(file)
        for data, line in read_bytes(file, name, lines=lines):
            none = False
            yield Given(decoded(data, name, line), name, line)
    if none:
        raise TextError(f"there is no text in {', '.join(map(str, files)) or STANDARD_INPUT}")


def read_bytes(file: Path | None, name: str, *, lines: bool) -> Iterator[tuple[bytes, int | None]]:
    """The bytes of each text in a file, and the number of its line."""
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as stream:
            if not lines:
                if data := stream.read():
                    yield data, None
                return
            for number, ended in enumerate(stream, 1):
                if data := ended.rstrip(b"\r\n"):
                    yield data, number
    except OSError as error:
        raise TextError(f"{name} cannot be read: {error.strerror}") from error


def decoded(data: bytes, name: str, line: int | None) -> str:
    """A text of bytes, with plain line ends, as `charloom train` reads it."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        place = f"line {line}, " if line is not None else ""
        raise TextError(
            f"{name} is not UTF-8: {place}byte 0x{data[error.start]:02x} at byte {error.start}"
        ) from error


def groups(given: Iterable[Given]) -> Iterator[list[Given]]:
    """The texts, some at a time."""
    group: list[Given] = []
    size = 0
    for text in given:
        if group and (len(group) == MOST_TEXTS or size + len(text.text) > MOST_CHARACTERS):
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text.text)
    if group:
        yield group


@contextmanager
def named(group: Sequence[Given]) -> Iterator[None]:
    """Names the texts of a group in what is said against them.

    Raises:
        TextError: one of them cannot be used.
    """
    try:
        yield
    except InvalidRequestError as error:
        places = {f"texts[{i}]": given.place for i, given in enumerate(group)}
        said = [f"{places.get(v.field, v.field)} {v.reason}" for v in error.violations]
        raise TextError("; ".join(said)) from error

"""The texts that a command reads: files, or their lines."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError
from charloom.printable import printable
from charloom.text_file import STANDARD_INPUT_NAME, EmptyTextError, numbered_lines, opened, read_stream

MAX_TEXTS = 128
MAX_CHARACTERS = 1_000_000
"""Texts of one call, and their characters: what a server takes by default."""
BEGINNING = 60
"""Characters of a line that stand for it."""


class TextError(CharloomError):
    """A text cannot be used."""

    exit_code = 2


@dataclass(frozen=True)
class InputText:
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

    @property
    def columns(self) -> tuple[str, str, str]:
        """Its file, its line and, of a line, its text; that may have tabs itself, and so comes last."""
        name = printable(self.file, strict=True)
        return (name, "", "") if self.line is None else (name, str(self.line), self.text)


def read_input_texts(files: Sequence[Path], *, lines: bool) -> Iterator[InputText]:
    """The texts of files, or of standard input if none is named: whole, or one a line that is not empty.

    Raises:
        CharloomError: one cannot be read, or is not UTF-8; or there is no text at all.
    """
    none = True
    for file in files or (None,):
        for text in texts_of(file, lines=lines):
            none = False
            yield text
    if none:
        raise EmptyTextError(f"there is no text in {', '.join(map(str, files)) or STANDARD_INPUT_NAME}")


def texts_of(file: Path | None, *, lines: bool) -> Iterator[InputText]:
    """The texts of one file, or of standard input."""
    name = STANDARD_INPUT_NAME if file is None else str(file)
    with cast(BufferedIOBase, sys.stdin.buffer) if file is None else opened(file) as stream:
        pieces = read_stream(stream, name)
        if lines:
            for number, line in numbered_lines(pieces):
                if line:
                    yield InputText(line, name, number)
        elif text := "".join(pieces):
            yield InputText(text, name)


def read_whole(file: Path | None) -> str:
    """The whole text of a file, or of standard input; it may be empty.

    Raises:
        CharloomError: it cannot be read, or is not UTF-8.
    """
    return "".join(text.text for text in texts_of(file, lines=False))


def groups(texts: Iterable[InputText]) -> Iterator[list[InputText]]:
    """The texts, some at a time."""
    group: list[InputText] = []
    size = 0
    for text in texts:
        if group and (len(group) == MAX_TEXTS or size + len(text.text) > MAX_CHARACTERS):
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text.text)
    if group:
        yield group


@contextmanager
def named(group: Sequence[InputText]) -> Iterator[None]:
    """Names the texts of a group in what is said against them.

    Raises:
        TextError: one of them cannot be used.
    """
    try:
        yield
    except InvalidRequestError as error:
        places = {f"texts[{i}]": text.place for i, text in enumerate(group)}
        said = [f"{places.get(v.field, v.field)} {v.reason}" for v in error.violations]
        raise TextError("; ".join(said)) from error

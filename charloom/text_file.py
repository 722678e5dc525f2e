"""Reads text files as every command does: UTF-8, without a byte order mark, with plain line ends.

A text of any length comes in pieces, so that it needs no memory of its length.
"""

import codecs
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from charloom.errors import CharloomError

PIECE = 1 << 20
"""Bytes read at a time, which bounds the memory that a large text takes."""

SAMPLE = 64
"""Bytes by which a file without a byte order mark is known to be UTF-16."""

STANDARD_INPUT = Path("/dev/stdin")
"""The file for which a dash stands on a command line that is the value of no option."""
STANDARD_INPUT_NAME = "standard input"
"""What messages call it."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class UnreadableTextError(CharloomError):
    """The text cannot be opened, or not be read twice."""

    exit_code = 3


class EmptyTextError(CharloomError):
    """The text has no characters."""

    exit_code = 4


class BinaryTextError(CharloomError):
    """The file is no text."""

    exit_code = 5


class EncodingError(CharloomError):
    """The text is not UTF-8."""

    exit_code = 6


@dataclass
class Changes:
    """What reading changes in a text."""

    mark: bool = False
    """It dropped a byte order mark."""
    windows_ends: int = 0
    """Line ends that it made of \\r\\n."""
    lone_returns: int = 0
    """Line ends that it made of a \\r by itself."""

    def notes(self) -> tuple[str, ...]:
        """The changes in words."""
        notes = ["dropped the byte order mark at its beginning"] if self.mark else []
        for count, end in ((self.windows_ends, "\\r\\n"), (self.lone_returns, "\\r alone")):
            if count:
                were = "line end \\n that was" if count == 1 else "line ends \\n that were"
                notes.append(f"made {count:,} {were} {end}")
        return tuple(notes)


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The whole text of a file, and what was changed to get it.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    changes = Changes()
    text = "".join(read_pieces(path, changes))
    if not text:
        raise EmptyTextError(f"{path} is empty")
    return text, changes.notes()


def read_pieces(path: Path, changes: Changes, name: str = "", *, nul: bool = False) -> Iterator[str]:
    """The text of a file, as pieces with something in them; `nul` says whether NULs may be in it.

    Messages call it by its path, unless it has another name.

    Raises:
        CharloomError: the file cannot be read, or is not UTF-8 text. Where it holds both NUL and
            malformed bytes, the first NUL is what is told.
    """
    with opened(path) as stream:
        name = name or str(path)
        yield from plain(decoded(blocks(stream, name), name, nul=nul), changes)


def read_stream(stream: BufferedIOBase, name: str) -> Iterator[str]:
    """The text of an open file as it arrives, as pieces with something in them; it may hold NULs.

    Raises:
        CharloomError: it cannot be read, or is not UTF-8 text; all text before the place was given.
    """
    return plain(decoded(blocks(stream, name), name, nul=True), Changes())


def numbered_lines(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text that comes in pieces, without their ends, counted from 1."""
    number, begun = 1, ""
    for piece in pieces:
        first, *others = piece.split("\n")
        begun += first
        for line in others:
            yield number, begun
            number, begun = number + 1, line
    if begun:
        yield number, begun


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """A file, open while it is read.

    Raises:
        UnreadableTextError: it cannot be opened.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UnreadableTextError(f"cannot read the text {path}: {error.strerror}") from error
    with stream:
        yield stream


def refuse_pipe(path: Path) -> None:
    """Raises UnreadableTextError for what can only be read once."""
    with contextlib.suppress(OSError):  # reading tells of it better
        if path.is_fifo():
            raise UnreadableTextError(
                f"cannot read the text {path}: it is a pipe, and training reads a text twice; "
                "write it to a file first, or give it as standard input, which is a dash"
            )


def plain(pieces: Iterable[str], changes: Changes) -> Iterator[str]:
    """A text without a byte order mark and with plain line ends, as pieces with something in them."""
    held = ""  # a \r that ends a piece may be half of a line end
    for number, piece in enumerate(pieces):
        if number == 0 and piece.startswith("\ufeff"):
            changes.mark = True
            piece = piece[1:]
        piece = held + piece
        held = "\r" if piece.endswith("\r") else ""
        piece = piece.removesuffix("\r")
        if piece:
            yield plain_ends(piece, changes)
    if held:
        changes.lone_returns += 1
        yield "\n"


def plain_ends(text: str, changes: Changes) -> str:
    """A text with plain line ends."""
    if "\r" not in text:
        return text
    windows = text.count("\r\n")
    changes.windows_ends += windows
    changes.lone_returns += text.count("\r") - windows
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: Iterator[bytes], name: str, *, nul: bool) -> Iterator[str]:
    """The characters of UTF-8 in blocks, as pieces with something in them; `nul` says whether NULs may be.

    Raises:
        EncodingError: a byte is malformed, or the file begins as one in a wider encoding.
        BinaryTextError: it holds a NUL that may not be, perhaps far behind a malformed byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = lines = 0  # bytes that went before, and line ends among them
    try:
        for block in data:
            check(block, name, before, nul=nul)
            if piece := decoder.decode(block):
                yield piece
            before += len(block)
            lines += block.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # The decoder had kept the beginning of a character from the bytes before.
        place = before - len(decoder.getstate()[0]) + error.start
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        if nul:
            if sound := error.object[: error.start].decode():
                yield sound
        else:
            before = place - error.start + len(error.object)
            for block in data:
                check(block, name, before, nul=nul)
                before += len(block)
        raise EncodingError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at byte {place}, line {line}; "
            # What latin1 has for text cp1252 has in the same place, and quotation marks and dashes beside it.
            "convert it first, for example with iconv -f cp1252 -t utf-8"
        ) from error


def blocks(stream: BufferedIOBase, name: str) -> Iterator[bytes]:
    """The bytes of an open file, a block at a time, each as soon as there is something.

    Raises:
        UnreadableTextError: it cannot be read.
    """
    try:
        while block := stream.read1(PIECE):
            yield block
    except OSError as error:
        raise UnreadableTextError(f"cannot read the text {name}: {error.strerror}") from error


def check(block: bytes, name: str, before: int, *, nul: bool) -> None:
    """Raises an error for a block of a file, with so many bytes before it, that is of no UTF-8 text.

    Raises:
        EncodingError: the file begins as one in a wider encoding.
        BinaryTextError: it holds a NUL that may not be.
    """
    if before == 0 and (wide := wide_encoding(block)):
        raise EncodingError(
            f"{name} is not UTF-8 but looks like {wide.upper()}: "
            f"convert it first, with iconv -f {wide} -t utf-8"
        )
    if not nul and (place := block.find(0)) >= 0:
        raise BinaryTextError(f"{name} is no text: it holds a NUL byte at byte {before + place}")


def wide_encoding(data: bytes) -> str | None:
    """The encoding that a file gives away by its byte order mark, or by NUL at every second byte."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    head = data[:SAMPLE]
    halves = (head[0::2], head[1::2])
    if len(head) >= 4:
        for empty, full, name in ((*halves, "utf-16be"), (*halves[::-1], "utf-16le")):
            if not any(empty) and all(full):
                return name
    return None

"""The corpus: a text read from a file, its vocabulary, and its division into three parts.

A text of any length passes through piece by piece, twice: once to be checked and to learn which
characters it has, once to be encoded. It knows nothing of batches or models.
"""

import codecs
import contextlib
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charloom.errors import CharloomError
from charloom.printable import printable
from charloom.protocol import Ids
from charloom.vocabulary import CharacterVocabulary
from training.data.config import CorpusConfig
from training.data.token_file import TokenFile

PIECE = 1 << 20
"""Bytes read at a time, which bounds the memory that a large text takes."""

SAMPLE = 64
"""Bytes by which a file without a byte order mark is known to be UTF-16."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

HELD_OUT = 20_000
"""Characters of real held-out text that travel with every checkpoint."""

TOKENS = "tokens"
"""Name of the encoded text in the folder of a run."""


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


class ShortTextError(CharloomError):
    """The text is too short for what is asked."""

    exit_code = 7


@dataclass(frozen=True)
class Corpus:
    """A text in three parts, whose token ids are made when they are first asked for."""

    path: Path
    vocabulary: CharacterVocabulary
    parts: tuple[int, int, int]
    """Characters to train on, to validate on, and to test on."""
    digest: str
    """SHA-256 of the text as it is trained on."""
    notes: tuple[str, ...]
    """What reading the file changed in it."""
    folder: Path | None = None
    """Where the ids are kept, in a file; else they are kept in memory."""

    @property
    def length(self) -> int:
        """Characters in all parts."""
        return sum(self.parts)

    @property
    def train(self) -> Ids:
        """Token ids to train on."""
        return self.ids[: self.parts[0]]

    @property
    def validation(self) -> Ids:
        """Token ids to validate on."""
        return self.ids[self.parts[0] : self.length - self.parts[2]]

    @property
    def test(self) -> Ids:
        """Token ids to test on."""
        return self.ids[self.length - self.parts[2] :]

    @property
    def held_out(self) -> str:
        """The beginning of the validation part, as text."""
        return self.vocabulary.decode(self.validation[:HELD_OUT])

    @cached_property
    def ids(self) -> Ids:
        """The whole text as token ids [n]; made of the text, unless they are kept in a file.

        Raises:
            UnreadableTextError: the text is not what it was when it was read first.
            SaveError: they are not in the file, and it cannot be written.
        """
        if self.folder is None:
            return np.concatenate(list(self.encoded()))
        file = TokenFile(self.folder / TOKENS, self.digest, self.length, self.kind)
        if not file.intact():
            file.fill(self.encoded())
        return file.ids()

    @property
    def kind(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds every token and the start token."""
        return np.min_scalar_type(self.vocabulary.start)

    def encoded(self) -> Iterator[Ids]:
        """The token ids piece by piece, from the text, which is read once more.

        Raises:
            UnreadableTextError: the text is not what it was when it was read first.
        """
        table = np.full(sys.maxunicode + 1, self.vocabulary.start, self.kind)
        table[[ord(c) for c in self.vocabulary.characters]] = np.arange(self.vocabulary.size)
        digest = hashlib.sha256()
        for piece in plain(decoded(self.path), Changes()):
            digest.update(piece.encode())
            if piece.isascii() and self.kind == np.uint8:  # by far the fastest
                yield np.frombuffer(piece.encode().translate(table[:256].tobytes()), np.uint8)
            else:
                yield table.take(code_points(piece))
        if digest.hexdigest() != self.digest:
            raise UnreadableTextError(f"{self.path} changed while it was read: start again")

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says of the text."""
        train, validation, test = self.parts
        return {
            "name": printable(self.path.name),
            "sha256": self.digest,
            "characters": self.length,
            "train": train,
            "validation": validation,
            "test": test,
        }


def read_corpus(path: Path, config: CorpusConfig, folder: Path | None = None) -> Corpus:
    """Reads and divides a text; in `folder` its token ids are kept, once they are asked for.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    refuse_pipe(path)
    changes = Changes()
    digest = hashlib.sha256()
    seen = np.zeros(sys.maxunicode + 1, bool)
    length = 0
    for piece in plain(decoded(path), changes):
        digest.update(piece.encode())
        seen[code_points(piece)] = True
        length += len(piece)
    if not length:
        raise EmptyTextError(f"{path} is empty")
    return Corpus(
        path=path,
        vocabulary=CharacterVocabulary(map(chr, np.flatnonzero(seen).tolist())),
        parts=config.divide(length),
        digest=digest.hexdigest(),
        notes=changes.notes(),
        folder=folder,
    )


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a UTF-8 file, with plain line ends, and what was changed to get it.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    changes = Changes()
    text = "".join(plain(decoded(path), changes))
    if not text:
        raise EmptyTextError(f"{path} is empty")
    return text, changes.notes()


@dataclass
class Changes:
    """What reading changes in a text."""

    mark: bool = False
    """It dropped a byte order mark."""
    ends: int = 0
    """Line ends that it made of \\r\\n."""

    def notes(self) -> tuple[str, ...]:
        """The changes in words."""
        notes = ["dropped the byte order mark at its beginning"] if self.mark else []
        if self.ends:
            were = "line end \\n that was" if self.ends == 1 else "line ends \\n that were"
            notes.append(f"made {self.ends:,} {were} \\r\\n")
        return tuple(notes)


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
        if "\r" in piece:
            changes.ends += piece.count("\r\n")
            piece = piece.replace("\r\n", "\n")
        if piece:
            yield piece
    if held:
        yield held


def decoded(path: Path) -> Iterator[str]:
    """The characters of a UTF-8 file, as pieces with something in them.

    Raises:
        CharloomError: the file cannot be read, or is not UTF-8 text. Where it holds both NUL and
            malformed bytes, the first NUL is what is told.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = lines = 0  # bytes that went before, and line ends among them
    blocks = raw(path)
    try:
        for data in blocks:
            refuse_binary(path, data, before)
            if piece := decoder.decode(data):
                yield piece
            before += len(data)
            lines += data.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # The decoder had kept the beginning of a character from the bytes before.
        place = before - len(decoder.getstate()[0]) + error.start
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        before = place - error.start + len(error.object)
        for data in blocks:
            refuse_binary(path, data, before)
            before += len(data)
        raise EncodingError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at byte {place}, line {line}; "
            "convert it first, for example with iconv -f latin1 -t utf-8"
        ) from error


def raw(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a block at a time.

    Raises:
        UnreadableTextError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            while data := stream.read(PIECE):
                yield data
    except OSError as error:
        raise UnreadableTextError(f"cannot read the text {path}: {error.strerror}") from error


def refuse_pipe(path: Path) -> None:
    """Raises UnreadableTextError for what can only be read once."""
    with contextlib.suppress(OSError):  # reading tells of it better
        if path.is_fifo():
            raise UnreadableTextError(
                f"cannot read the text {path}: it is a pipe, and training reads a text twice; "
                "write it to a file first"
            )


def refuse_binary(path: Path, data: bytes, before: int) -> None:
    """Raises an error for a block of a file, with so many bytes before it, that is of no UTF-8 text.

    Raises:
        EncodingError: the file begins as one in a wider encoding.
        BinaryTextError: it holds a NUL.
    """
    if before == 0 and (wide := wide_encoding(data)):
        raise EncodingError(
            f"{path} is not UTF-8 but looks like {wide.upper()}: "
            f"convert it first, with iconv -f {wide} -t utf-8"
        )
    if (place := data.find(0)) >= 0:
        raise BinaryTextError(f"{path} is no text: it holds a NUL byte at byte {before + place}")


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


def code_points(text: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The code points of a text [n]; in bytes where each fits one, which is all the faster."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")

"""The corpus: a text read from a file, its vocabulary, and its division into three parts.

It knows nothing of batches or models.
"""

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charloom.errors import CharloomError, require
from charloom.vocabulary import CharacterVocabulary

Ids = npt.NDArray[np.generic]
"""Token ids in the smallest type that holds them and the start token."""

PIECE = 1 << 20
"""Characters encoded at a time, which bounds the memory that a large text takes."""

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


class UnreadableTextError(CharloomError):
    """The text cannot be opened."""

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
class CorpusConfig:
    """How the text is divided, from its beginning: training, validation, and the rest as test."""

    train_fraction: float = 0.9
    """Share of the text to train on."""
    validation_fraction: float = 0.1
    """Share that follows it, held out to validate on; what then remains is a test at the end."""

    def __post_init__(self) -> None:
        require(0 < self.train_fraction < 1, "train-fraction", "must lie between 0 and 1")
        require(0 < self.validation_fraction < 1, "validation-fraction", "must lie between 0 and 1")
        total = self.train_fraction + self.validation_fraction
        require(
            total <= 1 + 1e-9,
            "train-fraction",
            f"and validation-fraction make up {total:g} of the text, more than all of it",
        )


@dataclass(frozen=True)
class Corpus:
    """A text as token ids in three parts."""

    path: Path
    vocabulary: CharacterVocabulary
    train: Ids
    validation: Ids
    test: Ids
    digest: str
    """SHA-256 of the text as it is trained on."""
    held_out: str
    """The beginning of the validation part, as text."""
    notes: tuple[str, ...]
    """What reading the file changed in it."""

    @property
    def length(self) -> int:
        """Characters in all parts."""
        return len(self.train) + len(self.validation) + len(self.test)

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says of the text."""
        return {
            "name": self.path.name,
            "sha256": self.digest,
            "characters": self.length,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }


def read_corpus(path: Path, config: CorpusConfig) -> Corpus:
    """Reads and divides a text.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    text, notes = read_text(path)
    first = int(len(text) * config.train_fraction)
    rest = config.train_fraction + config.validation_fraction
    second = len(text) if rest >= 1 - 1e-9 else int(len(text) * rest)
    vocabulary = CharacterVocabulary.of_text(text)
    ids = encode(vocabulary, text)
    return Corpus(
        path=path,
        vocabulary=vocabulary,
        train=ids[:first],
        validation=ids[first:second],
        test=ids[second:],
        digest=hashlib.sha256(text.encode()).hexdigest(),
        held_out=text[first : min(second, first + HELD_OUT)],
        notes=notes,
    )


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a UTF-8 file, with plain line ends, and what was changed to get it.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableTextError(f"cannot read the text {path}: {error.strerror}") from error
    if wide := wide_encoding(data):
        raise EncodingError(
            f"{path} is not UTF-8 but looks like {wide.upper()}: "
            f"convert it first, with iconv -f {wide} -t utf-8"
        )
    if (place := data.find(0)) >= 0:
        raise BinaryTextError(f"{path} is no text: it holds a NUL byte at byte {place}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EncodingError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start}, line {line}; "
            "convert it first, for example with iconv -f latin1 -t utf-8"
        ) from error
    notes = []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append("dropped the byte order mark at its beginning")
    if "\r\n" in text:
        ends = text.count("\r\n")
        were = "line end \\n that was" if ends == 1 else "line ends \\n that were"
        notes.append(f"made {ends:,} {were} \\r\\n")
        text = text.replace("\r\n", "\n")
    if not text:
        raise EmptyTextError(f"{path} is empty")
    return text, tuple(notes)


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


def encode(vocabulary: CharacterVocabulary, text: str) -> Ids:
    """Token ids [T] of a text of any length."""
    kind = np.uint8 if vocabulary.inputs <= 256 else np.int32
    pieces = [
        vocabulary.encode(text[start : start + PIECE]).astype(kind) for start in range(0, len(text), PIECE)
    ]
    return np.concatenate(pieces)

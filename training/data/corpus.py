"""The corpus: a text, its vocabulary, and its division into three parts of token ids.

A text of any length passes through piece by piece: once to be checked and to make its vocabulary, once to
be encoded.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from charloom.errors import CharloomError
from charloom.printable import printable
from charloom.score import bits_per_character
from charloom.text_file import Changes, EmptyTextError, UnreadableTextError, refuse_pipe
from charloom.texts import Texts
from charloom.vocabulary import (
    CharacterBuilder,
    Ids,
    UnknownCharacterError,
    Vocabulary,
    VocabularyBuilder,
    digest,
    id_type,
)
from training.data.config import CorpusConfig
from training.data.token_file import TokenFile

HELD_OUT = 20_000
"""Tokens of real held-out text that travel with every checkpoint."""

TOKENS = "tokens"
"""Name of the encoded text in the folder of a run."""

Parts = tuple[int, int, int]
"""Sizes of the parts to train on, to validate on, and to test on."""
PART_NAMES = ("train", "validation", "test")


class ShortTextError(CharloomError):
    """The text is too short for what is asked."""

    exit_code = 7


@dataclass(frozen=True)
class Corpus:
    """A text in three parts, whose token ids are made when they are first asked for.

    The text is divided between characters, and each part is encoded by itself.
    """

    texts: Texts
    vocabulary: Vocabulary
    characters: Parts
    """Characters of each part."""
    parts: Parts
    """Tokens of each part."""
    digest: str
    """SHA-256 of the text as it is trained on."""
    notes: tuple[str, ...]
    """What reading the file changed in it, and what in it is hardly meant."""
    folder: Path | None = None
    """Where the ids are kept, in a file; else they are kept in memory."""

    @property
    def train(self) -> Ids:
        """Token ids to train on."""
        return self.ids[: self.parts[0]]

    @property
    def validation(self) -> Ids:
        """Token ids to validate on."""
        return self.ids[self.parts[0] : sum(self.parts[:2])]

    @property
    def test(self) -> Ids:
        """Token ids to test on."""
        return self.ids[sum(self.parts[:2]) :]

    @property
    def characters_per_token(self) -> float:
        """Characters of a token of the training part, on the average."""
        return self.characters[0] / max(1, self.parts[0])

    def bits_per_character(self, loss: float, part: Literal["train", "validation", "test"]) -> float:
        """A loss over a part of the text, in nats a token, in bits a character; NaN if the part is empty."""
        place = PART_NAMES.index(part)
        return bits_per_character(loss * self.parts[place], self.characters[place])

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
        pieces = (ids for _, ids in encoded(self.texts, self.vocabulary, self.characters, self.digest))
        if self.folder is None:
            return np.concatenate(list(pieces))
        kept_of = f"{self.digest} {digest(self.vocabulary)} {self.characters}"
        file = TokenFile(self.folder / TOKENS, kept_of, sum(self.parts), id_type(self.vocabulary))
        if not file.intact():
            file.fill(pieces)
        return file.ids()

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says of the text: its parts in characters, and their tokens."""
        return {
            "name": printable(self.texts.title),
            "sha256": self.digest,
            "characters": sum(self.characters),
            **dict(zip(PART_NAMES, self.characters, strict=True)),
            "tokens": dict(zip(PART_NAMES, self.parts, strict=True)),
        }


def read_corpus(
    text: Path | Texts,
    config: CorpusConfig,
    folder: Path | None = None,
    builder: Callable[[], VocabularyBuilder] = CharacterBuilder,
) -> Corpus:
    """Reads and divides a text; in `folder` its token ids are kept, once they are asked for.

    Args:
        text: its file or files.
        config: how to divide it.
        folder: of the run; without one the ids are kept in memory.
        builder: begins what makes the vocabulary of the text.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    texts = text if isinstance(text, Texts) else Texts((text,))
    for file in texts.files:
        refuse_pipe(file)
    changes = Changes()
    sha256 = hashlib.sha256()
    building = builder()
    length = 0
    for piece in texts.pieces(changes):
        sha256.update(piece.encode())
        building.put(piece)
        length += len(piece)
    if not length:
        raise EmptyTextError(f"{texts.name} is empty")
    vocabulary, characters, digested = building.build(), config.divide(length), sha256.hexdigest()
    return Corpus(
        texts=texts,
        vocabulary=vocabulary,
        characters=characters,
        parts=count_tokens(texts, vocabulary, characters, digested),
        digest=digested,
        notes=(*changes.notes(), *control_notes(vocabulary)),
        folder=folder,
    )


def control_notes(vocabulary: Vocabulary) -> list[str]:
    """Says which control characters a text has, beside line ends and tabs; they come of a wrong encoding."""
    controls = (*range(32), *range(127, 160))
    found = [code for code in controls if chr(code) not in "\n\t" and vocabulary.find(chr(code)) is not None]
    if not found:
        return []
    names = ", ".join(f"U+{code:04X}" for code in found)
    note = f"has the control characters {names}, which the model learns to write"
    if any(code >= 128 for code in found):
        note += "; was it cp1252 that was converted as latin1?"
    return [note]


def count_tokens(texts: Texts, vocabulary: Vocabulary, characters: Parts, digested: str) -> Parts:
    """Tokens of each part of a text; where characters have different numbers of them, by encoding it once."""
    if vocabulary.tokens_per_character is not None:
        first, second, third = (count * vocabulary.tokens_per_character for count in characters)
        return first, second, third
    counts = [0, 0, 0]
    for part, ids in encoded(texts, vocabulary, characters, digested):
        counts[part] += len(ids)
    return counts[0], counts[1], counts[2]


def encoded(
    texts: Texts, vocabulary: Vocabulary, characters: Parts, digested: str
) -> Iterator[tuple[int, Ids]]:
    """The token ids of a text piece by piece, each with the number of its part, from 0.

    Raises:
        UnreadableTextError: the text is not the one of this digest and so many characters.
    """
    changed = UnreadableTextError(f"{texts.name} changed while it was read: start again")
    sha256 = hashlib.sha256()
    encoder, part, left = vocabulary.encoder(), 0, characters[0]
    try:
        for piece in texts.pieces(Changes()):
            sha256.update(piece.encode())
            rest = piece
            while len(rest) > left and part < 2:
                yield part, encoder.put(rest[:left])
                yield part, encoder.finish()
                rest = rest[left:]
                encoder, part = vocabulary.encoder(), part + 1
                left = characters[part]
            yield part, encoder.put(rest)
            left -= len(rest)
        yield part, encoder.finish()
    except UnknownCharacterError as error:
        raise changed from error
    if sha256.hexdigest() != digested:
        raise changed

"""What every vocabulary can do: the mapping between a text and the token ids that a model reads and writes.

The first N ids are parts of texts; special tokens, which are none, have the ids after them (`special.py`). A
kind of vocabulary is a file beside this one and a line in `registry.py`.
"""

import hashlib
import json
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charloom.errors import CharloomError
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, TokenIds

Tokens = npt.NDArray[np.int64]
Ids = npt.NDArray[np.generic]
"""Token ids of any integer type."""

CONTEXT = 8
"""Tokens before a place from which a decoder can go on there: a character of UTF-8 has at most four bytes."""


class UnknownCharacterError(CharloomError, ValueError):
    """A text holds characters that the vocabulary lacks.

    `found` pairs each distinct character with the place of its first occurrence, counted in
    characters from 0.
    """

    exit_code = 2
    LISTED = 10

    def __init__(self, found: list[tuple[str, int]]) -> None:
        named = [f"{c!r} (U+{ord(c):04X}) at {place}" for c, place in found[: self.LISTED]]
        more = len(found) - len(named)
        listed = ", ".join(named) + (f" and {more} more" if more else "")
        super().__init__(f"characters outside the model's vocabulary: {listed}")
        self.found = found


class Decoder(Protocol):
    """Decodes the tokens of one stream as they come, however they are cut.

    It never gives out half a character: the bytes of an unfinished one are held back until the token that
    completes it. Bytes that form no character become U+FFFD as soon as a later token shows that.
    """

    def put(self, tokens: Tokens) -> list[str]:
        """Takes the next tokens [T]; gives the text that each of them completes [T], which may be empty."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether the tokens so far end in the middle of a character."""
        ...


class Encoder(Protocol):
    """Encodes one text that comes in pieces; the ids do not depend on how it is cut."""

    def put(self, piece: str) -> Ids:
        """Takes the next piece; gives ids [T] of the smallest unsigned type that holds every token.

        Raises:
            UnknownCharacterError: a character is not in the vocabulary, which has no unknown token.
        """
        ...

    def finish(self) -> Ids:
        """The ids [T] of what was held back for a later piece; from then on it encodes another text."""
        ...


class Vocabulary(Protocol):
    """The tokens of a model. Immutable; equal to another of the same kind with equal entries."""

    @property
    def kind(self) -> str:
        """The tag by which `registry.py` finds the class of a stored vocabulary."""
        ...

    ids: TokenIds
    """The ids of all tokens, special ones included."""

    @property
    def size(self) -> int:
        """V: how many tokens a model gives a score."""
        return self.ids.size

    @property
    def start(self) -> int:
        """The special token that a fresh stream feeds first; nothing ever chooses it."""
        return self.ids.start

    @property
    def inputs(self) -> int:
        """How many tokens a model can be fed: V and the special ones that are only fed."""
        return self.ids.inputs

    @property
    def end(self) -> int | None:
        """The special token that ends a record; None where texts have no end."""
        return self.ids.end

    @property
    def unknown(self) -> int | None:
        """The special token that stands for all that the vocabulary lacks, if it has one."""
        return self.ids.unknown

    @property
    def entries(self) -> Sequence[Hashable]:
        """What identifies each ordinary token [N] among all vocabularies of the kind."""
        ...

    @property
    def tokens_per_character(self) -> int | None:
        """Tokens of every character of any text; None where that differs, and only encoding tells."""
        ...

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        """Turns a text into token ids [T]; unknown characters become the unknown token, if there is one.

        Raises:
            UnknownCharacterError: a character is not in the vocabulary, which has no unknown token, and
                `skip_unknown` is off.
        """
        ...

    def encoder(self) -> Encoder:
        """An encoder of one text of any length, read in pieces."""
        ...

    def unknown_pieces(self, text: str) -> list[tuple[int, str]]:
        """The parts of a text that the vocabulary lacks, each with its place in characters, in order."""
        ...

    def decode(self, tokens: npt.ArrayLike) -> str:
        """Turns token ids [T] into their text, without a character that is unfinished at their end.

        The end of a record has no text; the unknown token has U+FFFD.
        """
        ...

    def decoder(self, before: Tokens | None = None) -> Decoder:
        """A decoder of one stream, at its beginning or after the tokens `before` [T].

        Of those the last CONTEXT are enough.
        """
        ...

    def token_text(self, token: int) -> str:
        """The text of one token by itself, for people: U+FFFD stands for bytes that form no character.

        Of special tokens it is their name in angle brackets, such as <end>.
        """
        ...

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        ...

    def writes(self, character: str) -> bool:  # noqa: ARG002
        """Whether a text of the ordinary tokens can hold this character."""
        return True

    def extended(self, other: "Vocabulary") -> "Vocabulary | None":
        """This vocabulary with the ordinary tokens that another of its kind has beyond it behind its own.

        The special tokens stay its own. None where tokens of the kind cannot be added, such as byte pairs,
        whose merges would cut every text otherwise.

        Raises:
            VocabularyError: the other one splits a text into other tokens.
        """
        ...

    def with_special(self, special: SpecialTokens) -> "Vocabulary":
        """The same ordinary tokens with these special ones."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it, with its kind under "kind"."""
        ...


class VocabularyBuilder(Protocol):
    """Makes a vocabulary of texts that are read in pieces."""

    def put(self, piece: str) -> None:
        """Takes the next piece."""
        ...

    def finish(self) -> None:
        """Ends a text, such as a record: what comes next is another one."""
        ...

    def build(self, special: SpecialTokens = NO_SPECIAL) -> Vocabulary:
        """The vocabulary of the texts so far, with these special tokens, and an unknown one if it needs one.

        Raises:
            VocabularyError: there was no text, or every token of it is too rare.
        """
        ...


def no_tokens() -> Tokens:
    """The token ids of an empty text."""
    return np.empty(0, np.int64)


def id_type(vocabulary: Vocabulary) -> np.dtype[Any]:
    """The smallest unsigned type that holds every token that can be fed."""
    return np.min_scalar_type(vocabulary.inputs - 1)


def digest(vocabulary: Vocabulary) -> str:
    """SHA-256 of a vocabulary: equal ones have equal digests."""
    return hashlib.sha256(json.dumps(vocabulary.to_json(), sort_keys=True).encode()).hexdigest()

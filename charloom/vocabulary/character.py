"""The character vocabulary: one token per Unicode code point."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from charloom.vocabulary.vocabulary import Ids, Tokens, UnknownCharacterError, VocabularyError, id_type


class CharacterVocabulary:
    """One token per Unicode code point; made of a text, in code point order."""

    kind: ClassVar[str] = "character"
    tokens_per_character: ClassVar[int] = 1

    def __init__(self, characters: Iterable[str]) -> None:
        """Takes the distinct characters in the order of their ids."""
        self.characters = list(characters)
        if not self.characters:
            raise VocabularyError("the vocabulary is empty")
        if any(not isinstance(c, str) or len(c) != 1 for c in self.characters):
            raise VocabularyError("every entry of a character vocabulary is one character")
        self._codes = np.array([ord(c) for c in self.characters], dtype=np.uint32)
        self._ids = {character: i for i, character in enumerate(self.characters)}
        self._order = np.argsort(self._codes)
        self._sorted = self._codes[self._order]
        if len(np.unique(self._codes)) != len(self._codes):
            raise VocabularyError("the vocabulary lists a character twice")
        if np.any((self._codes >= 0xD800) & (self._codes <= 0xDFFF)):
            raise VocabularyError("the vocabulary lists a surrogate, which is no character")

    @classmethod
    def of_text(cls, text: str) -> "CharacterVocabulary":
        """The vocabulary of exactly the characters that `text` uses."""
        return cls(map(chr, np.unique(code_points(text)).tolist()))

    @property
    def size(self) -> int:
        """V: how many tokens a model can choose."""
        return len(self.characters)

    @property
    def start(self) -> int:
        """The token that a fresh stream feeds first."""
        return self.size

    @property
    def inputs(self) -> int:
        """How many tokens a model can be fed: V and the start token."""
        return self.size + 1

    @property
    def entries(self) -> Sequence[str]:
        """The characters [V]."""
        return self.characters

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        """Turns a text into token ids [T].

        Raises:
            UnknownCharacterError: a character is not in the vocabulary and `skip_unknown` is off.
        """
        codes = code_points(text)
        place = np.searchsorted(self._sorted, codes).clip(max=self.size - 1)
        known = self._sorted[place] == codes
        if not known.all():
            if not skip_unknown:
                raise UnknownCharacterError(first_places(codes, ~known))
            place = place[known]
        tokens: Tokens = self._order[place].astype(np.int64)
        return tokens

    def encoder(self) -> "CharacterEncoder":
        """An encoder by a table of all code points, faster than `encode` for a long text."""
        return CharacterEncoder(self)

    def decode(self, tokens: npt.ArrayLike) -> str:
        """Turns token ids [T] into their text."""
        ids = np.asarray(tokens, dtype=np.int64)
        return self._codes[ids].astype("<u4").tobytes().decode("utf-32-le")

    def decoder(self, before: Tokens | None = None) -> "CharacterDecoder":  # noqa: ARG002
        """A decoder, the same anywhere in a stream."""
        return CharacterDecoder(self)

    def token_text(self, token: int) -> str:
        """The character that is a token."""
        return self.characters[token]

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        return self._ids.get(text)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CharacterVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, "characters": list(characters)}:
                return cls(characters)
        raise VocabularyError("not a vocabulary of characters: expected a list under 'characters'")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterVocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(tuple(self.characters))


class CharacterDecoder:
    """Decodes characters, none of which is ever unfinished."""

    unfinished: ClassVar[bool] = False

    def __init__(self, vocabulary: CharacterVocabulary) -> None:
        self._vocabulary = vocabulary

    def put(self, tokens: Tokens) -> list[str]:
        """The character of each token [T]."""
        return list(self._vocabulary.decode(tokens))


class CharacterEncoder:
    """Encodes a text in pieces by a table of all code points."""

    def __init__(self, vocabulary: CharacterVocabulary) -> None:
        self._unknown = vocabulary.start
        self._type = id_type(vocabulary)
        self._table = np.full(sys.maxunicode + 1, self._unknown, self._type)
        self._table[[ord(c) for c in vocabulary.characters]] = np.arange(vocabulary.size)
        self._bytes = self._table[:256].tobytes() if self._type == np.uint8 else None

    def put(self, piece: str) -> Ids:
        """The ids [T] of a piece.

        Raises:
            UnknownCharacterError: a character is not in the vocabulary.
        """
        ids: Ids
        if self._bytes is not None and piece.isascii():  # by far the fastest
            ids = np.frombuffer(piece.encode().translate(self._bytes), np.uint8)
        else:
            ids = self._table.take(compact_code_points(piece))
        unknown = ids == self._unknown
        if unknown.any():
            raise UnknownCharacterError(first_places(code_points(piece), unknown))
        return ids

    def finish(self) -> Ids:
        """Nothing: no id depends on a later character."""
        return np.empty(0, self._type)


class CharacterBuilder:
    """Makes the vocabulary of exactly the characters that a text uses."""

    def __init__(self) -> None:
        self._seen = np.zeros(sys.maxunicode + 1, bool)

    def put(self, piece: str) -> None:
        """Takes the next piece."""
        self._seen[compact_code_points(piece)] = True

    def build(self) -> CharacterVocabulary:
        """The vocabulary of the text so far.

        Raises:
            VocabularyError: there was none.
        """
        return CharacterVocabulary(map(chr, np.flatnonzero(self._seen).tolist()))


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The Unicode code points of a text [T]; a lone surrogate comes out as it is."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)


def compact_code_points(text: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The code points of a text [T]; in bytes where each fits one, which is all the faster."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def first_places(codes: npt.NDArray[np.uint32], unknown: npt.NDArray[np.bool_]) -> list[tuple[str, int]]:
    """Each distinct unknown character with its first place, in order of appearance."""
    places = np.flatnonzero(unknown)
    distinct, first = np.unique(codes[places], return_index=True)
    found = [(chr(code), int(places[i])) for code, i in zip(distinct.tolist(), first, strict=True)]
    return sorted(found, key=lambda pair: pair[1])

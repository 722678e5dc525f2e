"""The character vocabulary: one token per Unicode code point."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, TokenIds, VocabularyError
from charloom.vocabulary.vocabulary import Ids, Tokens, UnknownCharacterError, Vocabulary, id_type

REPLACEMENT = 0xFFFD
"""The code point that stands for the unknown token in a text."""


class CharacterVocabulary(Vocabulary):
    """One token per Unicode code point; made of a text, in code point order."""

    kind: ClassVar[str] = "character"
    tokens_per_character: ClassVar[int] = 1

    def __init__(self, characters: Iterable[str], special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the distinct characters in the order of their ids, and the special tokens."""
        self.characters = list(characters)
        self.ids = TokenIds(len(self.characters), special)
        if not self.characters:
            raise VocabularyError("the vocabulary is empty: there is no token, or --min-count leaves all out")
        if any(not isinstance(c, str) or len(c) != 1 for c in self.characters):
            raise VocabularyError("every entry of a character vocabulary is one character")
        self._codes = np.array([ord(c) for c in self.characters], dtype=np.uint32)
        self._ids = {character: i for i, character in enumerate(self.characters)}
        self._texts = np.append(self._codes, [REPLACEMENT] * (self.size - len(self._codes)))
        """The code point of each token that has a score; that of the end of a record is left out of texts."""
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
    def entries(self) -> Sequence[str]:
        """The characters [N]."""
        return self.characters

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        """See Vocabulary."""
        codes = code_points(text)
        place = np.searchsorted(self._sorted, codes).clip(max=len(self.characters) - 1)
        known = self._sorted[place] == codes
        tokens: Tokens = self._order[place].astype(np.int64)
        if known.all():
            return tokens
        if skip_unknown:
            kept: Tokens = tokens[known]
            return kept
        if self.unknown is None:
            raise UnknownCharacterError(first_places(codes, ~known))
        tokens[~known] = self.unknown
        return tokens

    def encoder(self) -> "CharacterEncoder":
        """An encoder by a table of all code points, faster than `encode` for a long text."""
        return CharacterEncoder(self)

    def unknown_pieces(self, text: str) -> list[tuple[int, str]]:
        """See Vocabulary; a piece is a character."""
        codes = code_points(text)
        places = np.flatnonzero(~np.isin(codes, self._codes))
        return [(place, text[place]) for place in places.tolist()]

    def decode(self, tokens: npt.ArrayLike) -> str:
        """See Vocabulary."""
        ids = np.asarray(tokens, dtype=np.int64)
        if self.end is not None:
            ids = ids[ids != self.end]
        return self._texts[ids].astype("<u4").tobytes().decode("utf-32-le")

    def decoder(self, before: Tokens | None = None) -> "CharacterDecoder":  # noqa: ARG002
        """A decoder, the same anywhere in a stream."""
        return CharacterDecoder(self)

    def token_text(self, token: int) -> str:
        """The character that is a token, or the name of a special one."""
        return self.characters[token] if token < len(self.characters) else self.ids.name(token)

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        return self._ids.get(text)

    def writes(self, character: str) -> bool:
        """Whether it is a token."""
        return character in self._ids

    def extended(self, other: Vocabulary) -> "CharacterVocabulary":
        """See Vocabulary."""
        assert isinstance(other, CharacterVocabulary), "both are of one kind"
        added = (character for character in other.characters if character not in self._ids)
        return CharacterVocabulary([*self.characters, *added], self.ids.special)

    def with_special(self, special: SpecialTokens) -> "CharacterVocabulary":
        """See Vocabulary."""
        return CharacterVocabulary(self.characters, special)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return {"kind": self.kind, "characters": self.characters, **self.ids.special.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CharacterVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, "characters": list(characters), **special}:
                return cls(characters, SpecialTokens.from_json(special))
        raise VocabularyError("not a vocabulary of characters: expected a list under 'characters'")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterVocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((*self.characters, self.ids.special))


class CharacterDecoder:
    """Decodes characters, none of which is ever unfinished."""

    unfinished: ClassVar[bool] = False

    def __init__(self, vocabulary: CharacterVocabulary) -> None:
        self._vocabulary = vocabulary

    def put(self, tokens: Tokens) -> list[str]:
        """The character of each token [T]; nothing for the end of a record."""
        characters = list(self._vocabulary.decode(tokens))
        if len(characters) < len(tokens):
            for place in np.flatnonzero(tokens == self._vocabulary.end).tolist():
                characters.insert(place, "")
        return characters


class CharacterEncoder:
    """Encodes a text in pieces by a table of all code points."""

    def __init__(self, vocabulary: CharacterVocabulary) -> None:
        known = vocabulary.unknown is not None
        self._refused = None if known else vocabulary.start
        self._type = id_type(vocabulary)
        self._table = np.full(
            sys.maxunicode + 1, vocabulary.unknown if known else vocabulary.start, self._type
        )
        self._table[[ord(c) for c in vocabulary.characters]] = np.arange(len(vocabulary.characters))
        self._bytes = self._table[:256].tobytes() if self._type == np.uint8 else None

    def put(self, piece: str) -> Ids:
        """See Encoder."""
        ids: Ids
        if self._bytes is not None and piece.isascii():  # by far the fastest
            ids = np.frombuffer(piece.encode().translate(self._bytes), np.uint8)
        else:
            ids = self._table.take(compact_code_points(piece))
        if self._refused is not None and (unknown := ids == self._refused).any():
            raise UnknownCharacterError(first_places(code_points(piece), unknown))
        return ids

    def finish(self) -> Ids:
        """Nothing: no id depends on a later character."""
        return np.empty(0, self._type)


class CharacterBuilder:
    """Makes the vocabulary of the characters that a text uses, each at least so many times."""

    def __init__(self, min_count: int = 1) -> None:
        """With a `min_count` above 1, rarer characters are left to the unknown token."""
        self.min_count = min_count
        self._counts = np.zeros(sys.maxunicode + 1, np.int64)

    def put(self, piece: str) -> None:
        """Takes the next piece."""
        codes = compact_code_points(piece)
        if self.min_count == 1:  # whether it occurs is found faster than how often
            self._counts[codes] = 1
        else:
            counted = np.bincount(codes)
            self._counts[: len(counted)] += counted

    def finish(self) -> None:
        """See VocabularyBuilder."""

    def build(self, special: SpecialTokens = NO_SPECIAL) -> CharacterVocabulary:
        """See VocabularyBuilder; the unknown token stands for rarer characters."""
        kept = map(chr, np.flatnonzero(self._counts >= self.min_count).tolist())
        return CharacterVocabulary(kept, replace(special, unknown=self.min_count > 1))


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

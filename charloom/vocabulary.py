"""Vocabularies: the mapping between a text and the token ids that a model reads and writes.

A vocabulary knows nothing of models or files. Ids 0 to V - 1 are the tokens a model can choose;
id V is the start token, which every fresh stream feeds first and nothing ever chooses.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from charloom.errors import CharloomError

Tokens = npt.NDArray[np.int64]


class UnknownCharacterError(CharloomError, ValueError):
    """A text holds characters that the vocabulary does not.

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


class VocabularyError(CharloomError, ValueError):
    """A stored vocabulary is malformed."""


class CharacterVocabulary:
    """One token per Unicode code point, in code point order."""

    kind = "character"

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

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        return self._ids.get(text)

    def decode(self, tokens: npt.ArrayLike) -> str:
        """Turns token ids [T] into their text."""
        ids = np.asarray(tokens, dtype=np.int64)
        return self._codes[ids].astype("<u4").tobytes().decode("utf-32-le")

    def pieces(self, tokens: npt.ArrayLike) -> list[str]:
        """The text of each token [T]; joined, they are the text of all."""
        return list(self.decode(tokens))

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_json(cls, data: object) -> "CharacterVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, "characters": list(characters)}:
                return cls(characters)
            case {"kind": str(kind)} if kind != cls.kind:
                raise VocabularyError(f"unknown kind of vocabulary {kind!r}; a newer Charloom may read it")
        raise VocabularyError("not a vocabulary: expected 'kind' and 'characters'")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterVocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(tuple(self.characters))


def no_tokens() -> Tokens:
    """The token ids of an empty text."""
    return np.empty(0, np.int64)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The Unicode code points of a text [T]; a lone surrogate comes out as it is."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)


def first_places(codes: npt.NDArray[np.uint32], unknown: npt.NDArray[np.bool_]) -> list[tuple[str, int]]:
    """Each distinct unknown character with its first place, in order of appearance."""
    places = np.flatnonzero(unknown)
    distinct, first = np.unique(codes[places], return_index=True)
    found = [(chr(code), int(places[i])) for code, i in zip(distinct.tolist(), first, strict=True)]
    return sorted(found, key=lambda pair: pair[1])

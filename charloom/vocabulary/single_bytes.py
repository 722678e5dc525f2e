"""The vocabulary of bytes: the 256 bytes of which UTF-8 makes every text of every language."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from charloom.vocabulary.byte_level import ByteLevelVocabulary, utf8
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, VocabularyError
from charloom.vocabulary.vocabulary import Ids, id_type

SINGLE_BYTES = tuple(bytes([byte]) for byte in range(256))


class ByteVocabulary(ByteLevelVocabulary):
    """A byte as a token, whose id it is."""

    kind: ClassVar[str] = "bytes"

    def __init__(self, special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the special tokens; the others are always the same."""
        super().__init__(SINGLE_BYTES, special)

    def encoder(self) -> "ByteEncoder":
        """See Vocabulary."""
        return ByteEncoder(id_type(self))

    def with_special(self, special: SpecialTokens) -> "ByteVocabulary":
        """See Vocabulary."""
        return ByteVocabulary(special)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return {"kind": self.kind, **self.ids.special.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ByteVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, **special}:
                return cls(SpecialTokens.from_json(special))
        raise VocabularyError("not a vocabulary of bytes")


class ByteEncoder:
    """Encodes a text in pieces: its bytes are its ids."""

    def __init__(self, kind: np.dtype[Any]) -> None:
        """Takes the type of the ids."""
        self._type = kind

    def put(self, piece: str) -> Ids:
        """See Encoder."""
        return np.frombuffer(utf8(piece), np.uint8).astype(self._type)

    def finish(self) -> Ids:
        """Nothing: no id depends on a later character."""
        return np.empty(0, self._type)


class ByteBuilder:
    """Makes the same vocabulary of every text."""

    def put(self, piece: str) -> None:
        """See VocabularyBuilder."""

    def finish(self) -> None:
        """See VocabularyBuilder."""

    def build(self, special: SpecialTokens = NO_SPECIAL) -> ByteVocabulary:
        """See VocabularyBuilder."""
        return ByteVocabulary(special)

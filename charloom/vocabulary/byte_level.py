"""What the vocabularies share whose tokens are strings of bytes, which may cut a character of UTF-8."""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from charloom.vocabulary.special import SpecialTokens, TokenIds, VocabularyError
from charloom.vocabulary.vocabulary import Encoder, Tokens, UnknownCharacterError, Vocabulary, no_tokens


class ByteLevelVocabulary(Vocabulary, ABC):
    """Strings of bytes as tokens, all single bytes among them: no character is unknown but half a pair."""

    tokens_per_character: ClassVar[int | None] = None

    def __init__(self, strings: Sequence[bytes], special: SpecialTokens) -> None:
        """Takes the strings in the order of their ids, and the special tokens."""
        if special.unknown:
            raise VocabularyError(f"a vocabulary of the kind {self.kind} has no unknown token")
        self.strings = list(strings)
        self.ids = TokenIds(len(self.strings), special)
        self._ids = {string: i for i, string in enumerate(self.strings)}
        if len(self._ids) < len(self.strings):
            raise VocabularyError("the vocabulary lists a token twice")

    @abstractmethod
    def encoder(self) -> Encoder:
        """See Vocabulary."""

    def extended(self, other: Vocabulary) -> None:
        """See Vocabulary."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""

    @property
    def entries(self) -> Sequence[bytes]:
        """The strings [N]."""
        return self.strings

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        """See Vocabulary."""
        if skip_unknown:
            text = "".join(character for character in text if not surrogate(character))
        encoder = self.encoder()
        return np.concatenate([encoder.put(text), encoder.finish()]).astype(np.int64)

    def unknown_pieces(self, text: str) -> list[tuple[int, str]]:
        """See Vocabulary."""
        if text.isascii():
            return []
        return [(place, character) for place, character in enumerate(text) if surrogate(character)]

    def decode(self, tokens: npt.ArrayLike) -> str:
        """See Vocabulary."""
        return "".join(self.decoder().put(np.asarray(tokens, np.int64)))

    def decoder(self, before: Tokens | None = None) -> "ByteLevelDecoder":
        """See Vocabulary."""
        return ByteLevelDecoder(self, no_tokens() if before is None else before)

    def token_text(self, token: int) -> str:
        """See Vocabulary."""
        known = token < len(self.strings)
        return self.strings[token].decode("utf-8", "replace") if known else self.ids.name(token)

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        return self._ids.get(text.encode("utf-8", "surrogatepass"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteLevelVocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, *self.strings, self.ids.special))


class ByteLevelDecoder:
    """Holds back the bytes of an unfinished character; those that the end of a record leaves are dropped."""

    def __init__(self, vocabulary: ByteLevelVocabulary, before: Tokens) -> None:
        """Begins after the tokens `before` [T]."""
        self._strings = vocabulary.strings
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self.put(before)

    def put(self, tokens: Tokens) -> list[str]:
        """See Decoder."""
        return [self._next(token) for token in tokens.tolist()]

    def _next(self, token: int) -> str:
        if token < len(self._strings):
            return self._utf8.decode(self._strings[token])
        self._utf8.reset()
        return ""

    @property
    def unfinished(self) -> bool:
        """See Decoder."""
        return bool(self._utf8.getstate()[0])


def utf8(piece: str) -> bytes:
    """Returns a text in UTF-8.

    Raises:
        UnknownCharacterError: it has a lone surrogate, which is no character.
    """
    try:
        return piece.encode()
    except UnicodeEncodeError as error:
        raise UnknownCharacterError([(piece[error.start], error.start)]) from error


def surrogate(character: str) -> bool:
    """Returns whether a character is half a pair, which is none."""
    return "\ud800" <= character <= "\udfff"

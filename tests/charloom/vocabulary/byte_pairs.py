"""A vocabulary of byte strings, for tests alone: a token is no character, and a character no token.

The 256 bytes are its first tokens; the others are pieces of several bytes, some of which cut characters.
"""

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from charloom.vocabulary import (
    NO_SPECIAL,
    VOCABULARIES,
    Ids,
    SpecialTokens,
    TokenIds,
    Tokens,
    UnknownCharacterError,
    Vocabulary,
    VocabularyError,
    id_type,
    no_tokens,
)

PIECES = (
    b"th",
    b" the ",
    b"he",
    b"in",
    b"\n\n",
    b"and",
    b"\xc3\xa9",
    b"\xe4\xbd",
    b"\xa0 ",
    b"\x9f\x9a",
    b"e\xcc",
)
"""Of é both bytes, of 你 the first two, its last one with a space, the middle of 🚀;
e with half an accent."""


class BytePairVocabulary(Vocabulary):
    """Byte strings as tokens; a text takes the longest that fits at each place."""

    kind: ClassVar[str] = "byte-pairs"
    tokens_per_character: ClassVar[None] = None

    def __init__(
        self,
        pieces: Sequence[bytes] = PIECES,
        singles: bytes = bytes(range(256)),
        special: SpecialTokens = NO_SPECIAL,
    ) -> None:
        """Takes the pieces of several bytes, and the single bytes that are tokens."""
        self.pieces, self.singles = tuple(pieces), singles
        self._bytes = [*(bytes([i]) for i in singles), *self.pieces]
        self.ids = TokenIds(len(self._bytes), special)
        self._ids = {piece: i for i, piece in enumerate(self._bytes)}
        if len(self._ids) < len(self._bytes):
            raise VocabularyError("a piece is listed twice")
        self.longest = max(map(len, self._bytes))

    @property
    def entries(self) -> Sequence[bytes]:
        return self._bytes

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        if skip_unknown:
            text = "".join(c for c in text if self.knows(c))
        encoder = self.encoder()
        return np.concatenate([encoder.put(text), encoder.finish()]).astype(np.int64)

    def encoder(self) -> "BytePairEncoder":
        return BytePairEncoder(self)

    def unknown_pieces(self, text: str) -> list[tuple[int, str]]:
        return [(place, c) for place, c in enumerate(text) if not self.knows(c)]

    def decode(self, tokens: npt.ArrayLike) -> str:
        return "".join(self.decoder().put(np.asarray(tokens, np.int64)))

    def decoder(self, before: Tokens | None = None) -> "BytePairDecoder":
        return BytePairDecoder(self, no_tokens() if before is None else before)

    def token_text(self, token: int) -> str:
        return self.text_bytes(token).decode("utf-8", "replace") or self.ids.name(token)

    def text_bytes(self, token: int) -> bytes:
        """The bytes of a token; none of a special one."""
        return self._bytes[token] if token < len(self._bytes) else b""

    def find(self, text: str) -> int | None:
        return self._ids.get(text.encode("utf-8", "surrogatepass"))

    def knows(self, character: str) -> bool:
        """Whether a character can be put together of single bytes."""
        if "\ud800" <= character <= "\udfff":
            return False
        return set(character.encode()) <= set(self.singles)

    def match(self, data: bytes) -> int:
        """The token of the longest piece that data begins with."""
        lengths = range(min(self.longest, len(data)), 0, -1)
        found = [data[:length] for length in lengths if data[:length] in self._ids]
        if not found:
            raise UnknownCharacterError([(data.decode("utf-8", "replace")[0], 0)])
        return self._ids[found[0]]

    def extended(self, other: Vocabulary) -> None:
        """Nothing can be added: a text would be cut otherwise."""

    def with_special(self, special: SpecialTokens) -> "BytePairVocabulary":
        return BytePairVocabulary(self.pieces, self.singles, special)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pieces": [piece.hex() for piece in self.pieces],
            "singles": self.singles.hex(),
            **self.ids.special.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BytePairVocabulary":
        special = {name: data[name] for name in data if name not in ("kind", "pieces", "singles")}
        pieces = [bytes.fromhex(piece) for piece in data["pieces"]]
        return cls(pieces, bytes.fromhex(data["singles"]), SpecialTokens.from_json(special))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BytePairVocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(tuple(self._bytes))


class BytePairEncoder:
    """Holds bytes back until no later one can change the piece that they begin."""

    def __init__(self, vocabulary: BytePairVocabulary) -> None:
        self.vocabulary = vocabulary
        self.held = b""

    def put(self, piece: str) -> Ids:
        try:
            self.held += piece.encode()
        except UnicodeEncodeError as error:
            raise UnknownCharacterError([(piece[error.start], error.start)]) from error
        return self.taken(self.vocabulary.longest)

    def finish(self) -> Ids:
        return self.taken(1)

    def taken(self, needed: int) -> Ids:
        ids, place = [], 0
        while len(self.held) - place >= needed:
            token = self.vocabulary.match(self.held[place : place + self.vocabulary.longest])
            ids.append(token)
            place += len(self.vocabulary.entries[token])
        self.held = self.held[place:]
        return np.array(ids, id_type(self.vocabulary))


class BytePairDecoder:
    """Holds back the bytes of an unfinished character."""

    def __init__(self, vocabulary: BytePairVocabulary, before: Tokens) -> None:
        self.vocabulary = vocabulary
        self.utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self.put(before)

    def put(self, tokens: Tokens) -> list[str]:
        return [self.utf8.decode(self.vocabulary.text_bytes(token)) for token in tokens.tolist()]

    @property
    def unfinished(self) -> bool:
        return bool(self.utf8.getstate()[0])


class BytePairBuilder:
    """Makes the same vocabulary of any text, whatever is rare in it."""

    def put(self, piece: str) -> None:
        pass

    def finish(self) -> None:
        pass

    def build(self, special: SpecialTokens = NO_SPECIAL) -> BytePairVocabulary:
        return BytePairVocabulary(special=special)


BYTE_PAIRS = VOCABULARIES | {BytePairVocabulary.kind: BytePairVocabulary.from_json}
"""A registry that has it beside Charloom's own kinds."""

"""Tables: what the vocabularies share whose tokens are texts that are listed, such as words."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from charloom.vocabulary.cuts import MAX_TOKEN, Cutter
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, TokenIds, VocabularyError
from charloom.vocabulary.vocabulary import (
    Decoder,
    Ids,
    Tokens,
    UnknownCharacterError,
    Vocabulary,
    id_type,
    no_tokens,
)

LACKING, LEFT_OUT = -1, -2
"""What stands for the id of a piece that the vocabulary lacks, and of one that is no part of its texts."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""The text of the unknown token."""


class TableVocabulary(Vocabulary, ABC):
    """Texts as tokens, in the order of their ids; a subclass says how a text splits into them."""

    tokens_per_character: ClassVar[int | None] = None
    cuts: ClassVar[re.Pattern[str]]
    """Where a text can be cut."""

    def __init__(self, texts: Iterable[str], special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the distinct texts in the order of their ids, and the special tokens."""
        self.texts = list(texts)
        self.ids = TokenIds(len(self.texts), special)
        if not self.texts:
            raise VocabularyError("the vocabulary is empty: there is no token, or --min-count leaves all out")
        if not all(isinstance(text, str) and 0 < len(text) <= MAX_TOKEN for text in self.texts):
            raise VocabularyError(f"every token is a text of 1 to {MAX_TOKEN:,} characters")
        self._ids = {text: i for i, text in enumerate(self.texts)}
        if len(self._ids) < len(self.texts):
            raise VocabularyError("the vocabulary lists a token twice")
        for text in self.texts:
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise VocabularyError("the vocabulary lists a surrogate, which is no character")
            if not self.can_be_token(text):
                raise VocabularyError(f"no text of this kind has the token {text!r}")
        self._decoded = [*self.texts, *("" if i == self.end else REPLACEMENT for i in self._special)]
        """The text of each token that has a score."""

    def can_be_token(self, text: str) -> bool:
        """Whether some text splits into this one, which is listed, and others."""
        return self.split(text) == [text] and bool(self.lookup([text]) == self._ids[text])

    @abstractmethod
    def split(self, block: str) -> list[str]:
        """Splits a block of a text into pieces, which make it up; those that are no tokens are unknown."""

    @property
    def _special(self) -> range:
        """The special tokens that have a score."""
        return range(len(self.texts), self.size)

    @property
    def entries(self) -> Sequence[str]:
        """The texts [N]."""
        return self.texts

    def lookup(self, pieces: Sequence[str]) -> Tokens:
        """Returns the id of each piece [T], or LACKING, or LEFT_OUT."""
        find = self._ids.get
        return np.array([find(piece, LACKING) for piece in pieces], np.int64)

    def encode(self, text: str, *, skip_unknown: bool = False) -> Tokens:
        """See Vocabulary."""
        encoder = TableEncoder(self, skip_unknown=skip_unknown)
        return np.concatenate([encoder.put(text), encoder.finish()]).astype(np.int64)

    def encoder(self) -> "TableEncoder":
        """See Vocabulary."""
        return TableEncoder(self)

    def unknown_pieces(self, text: str) -> list[tuple[int, str]]:
        """See Vocabulary."""
        found, begin = [], 0
        for block in Cutter(self.cuts).cut(text):
            pieces = self.split(block)
            places = list(accumulate(map(len, pieces), initial=begin))
            found += [(places[i], pieces[i]) for i in np.flatnonzero(self.lookup(pieces) == LACKING).tolist()]
            begin += len(block)
        return found

    def decode(self, tokens: npt.ArrayLike) -> str:
        """See Vocabulary."""
        return "".join(self.decoder().put(np.asarray(tokens, np.int64)))

    def decoder(self, before: Tokens | None = None) -> Decoder:  # noqa: ARG002
        """A decoder, the same anywhere in a stream."""
        return TableDecoder(self._decoded)

    def token_text(self, token: int) -> str:
        """The text that is a token, or the name of a special one."""
        return self.texts[token] if token < len(self.texts) else self.ids.name(token)

    def find(self, text: str) -> int | None:
        """The token of exactly this text, if there is one."""
        return self._ids.get(text)

    def extended(self, other: Vocabulary) -> Vocabulary:
        """See Vocabulary."""
        assert isinstance(other, TableVocabulary), "both are of one kind"
        added = (text for text in other.texts if text not in self._ids)
        return self.of([*self.texts, *added], self.ids.special)

    def with_special(self, special: SpecialTokens) -> Vocabulary:
        """See Vocabulary."""
        return self.of(self.texts, special)

    def of(self, texts: list[str], special: SpecialTokens) -> Self:
        """Makes a vocabulary that splits as this one does."""
        return type(self)(texts, special)

    def writes(self, character: str) -> bool:
        """See Vocabulary."""
        return character in self._characters

    @cached_property
    def _characters(self) -> frozenset[str]:
        """Those of all tokens."""
        return frozenset().union(*self.texts)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return {"kind": self.kind, "tokens": self.texts, **self.ids.special.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, "tokens": list(texts), **special}:
                return cls(texts, SpecialTokens.from_json(special))
        raise VocabularyError(f"not a vocabulary of the kind {cls.kind}: expected a list under 'tokens'")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableVocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, *self.texts, self.ids.special))


class TableEncoder:
    """Encodes a text in pieces, block by block."""

    def __init__(self, vocabulary: TableVocabulary, *, skip_unknown: bool = False) -> None:
        self._vocabulary = vocabulary
        self._skip_unknown = skip_unknown
        self._type = id_type(vocabulary)
        self._cutter = Cutter(vocabulary.cuts)
        self._read = 0
        """Characters of the text that are encoded."""

    def put(self, piece: str) -> Ids:
        """See Encoder."""
        return self._encoded(self._cutter.put(piece))

    def finish(self) -> Ids:
        """See Encoder."""
        ids = self._encoded(self._cutter.finish())
        self._read = 0
        return ids

    def _encoded(self, blocks: Iterable[str]) -> Ids:
        return np.concatenate([no_tokens(), *map(self._of_block, blocks)]).astype(self._type)

    def _of_block(self, block: str) -> Tokens:
        """Returns the ids of a block."""
        vocabulary = self._vocabulary
        pieces = vocabulary.split(block)
        ids = vocabulary.lookup(pieces)
        lacking = ids == LACKING
        if lacking.any():
            if self._skip_unknown:
                ids[lacking] = LEFT_OUT
            elif vocabulary.unknown is None:
                raise UnknownCharacterError(self._first_places(pieces, lacking))
            else:
                ids[lacking] = vocabulary.unknown
        self._read += len(block)
        kept: Tokens = ids[ids >= 0]
        return kept

    def _first_places(self, pieces: Sequence[str], lacking: npt.NDArray[np.bool_]) -> list[tuple[str, int]]:
        """Returns each distinct piece that is lacking with its first place, in order of appearance."""
        places = list(accumulate(map(len, pieces), initial=self._read))
        first: dict[str, int] = {}
        for i in np.flatnonzero(lacking).tolist():
            first.setdefault(pieces[i], places[i])
        return list(first.items())


class TableDecoder:
    """Decodes tokens that are whole texts, none of which is ever unfinished."""

    unfinished: ClassVar[bool] = False

    def __init__(self, texts: Sequence[str]) -> None:
        """Takes the text of each token."""
        self._texts = texts

    def put(self, tokens: Tokens) -> list[str]:
        """The text of each token [T]."""
        texts = self._texts
        return [texts[token] for token in tokens.tolist()]


class TableBuilder:
    """Counts the pieces of texts, and makes a vocabulary of the most frequent ones."""

    def __init__(
        self,
        split: Callable[[str], Iterable[str]],
        cuts: re.Pattern[str],
        make: Callable[[Counter[str], SpecialTokens], Vocabulary],
    ) -> None:
        """Begins with no text.

        Args:
            split: splits a block of a text into pieces.
            cuts: where a text can be cut.
            make: makes the vocabulary of the pieces that were counted.
        """
        self._split = split
        self._make = make
        self._cutter = Cutter(cuts)
        self._counts: Counter[str] = Counter()

    def put(self, piece: str) -> None:
        """See VocabularyBuilder."""
        for block in self._cutter.put(piece):
            self._counts.update(self._split(block))

    def finish(self) -> None:
        """See VocabularyBuilder."""
        for block in self._cutter.finish():
            self._counts.update(self._split(block))

    def build(self, special: SpecialTokens = NO_SPECIAL) -> Vocabulary:
        """See VocabularyBuilder."""
        self.finish()
        return self._make(self._counts, special)


def most_frequent(counts: Mapping[str, int], min_count: int, most: int | None = None) -> list[str]:
    """Returns the texts that occur so many times at the least, and at most so many of them.

    The most frequent come first, and those that are as frequent as each other by their code points.
    """
    kept = [(-count, text) for text, count in counts.items() if count >= min_count]
    return [text for _, text in sorted(kept)[:most]]

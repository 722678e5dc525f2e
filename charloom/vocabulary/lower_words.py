"""The vocabulary of lower-case words: words and signs are tokens, and white space is not, as in textgenrnn.

A text becomes its normal form: in lower case, with single spaces between tokens, none before a closing sign
such as a full stop, none after an opening one, and none around line ends and tabs. The normal form of a
normal form is itself.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from charloom.vocabulary.cuts import BEFORE_SPACES, MAX_TOKEN
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens
from charloom.vocabulary.table import LEFT_OUT, TableBuilder, TableVocabulary, most_frequent
from charloom.vocabulary.vocabulary import Tokens, no_tokens
from charloom.vocabulary.words import APOSTROPHES, needs_unknown, with_unknown, word_pattern

LINES = "\n\t"
"""White space that is a token, without spaces around it."""
CLOSING = frozenset(",.;:!?)]}%…\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}»" + LINES)
"""Tokens with no space before them."""
OPENING = frozenset("([{\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}«$#@£€" + LINES)
"""Tokens with no space after them."""


class LowerWordVocabulary(TableVocabulary):
    """A word in lower case, a single sign, a line end or a tab as a token."""

    kind: ClassVar[str] = "lower-words"
    cuts = BEFORE_SPACES

    def __init__(self, texts: list[str], special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the tokens; one of the special ones must stand for words that are none of them."""
        needs_unknown(special)
        super().__init__(texts, special)

    def split(self, block: str) -> list[str]:
        """See TableVocabulary."""
        return split_signs(block)

    def lookup(self, pieces: Sequence[str]) -> Tokens:
        """See TableVocabulary."""
        ids = super().lookup([piece.lower() for piece in pieces])
        ids[[piece.isspace() and piece not in LINES for piece in pieces]] = LEFT_OUT
        return ids

    def writes(self, character: str) -> bool:
        """See Vocabulary; spaces come between tokens."""
        return character == " " or super().writes(character)

    def decoder(self, before: Tokens | None = None) -> "LowerWordDecoder":
        """A decoder, which puts a space before a token by what is before it."""
        return LowerWordDecoder(self._decoded, self.end, no_tokens() if before is None else before)


class LowerWordDecoder:
    """Puts the spaces between tokens, none of which is ever unfinished."""

    unfinished: ClassVar[bool] = False

    def __init__(self, texts: Sequence[str], end: int | None, before: Tokens) -> None:
        """Takes the text of each token, the token that ends a record, and the tokens before."""
        self._texts = texts
        self._end = end
        self._opened = True
        """Whether no space comes before the next token."""
        self.put(before[-1:])

    def put(self, tokens: Tokens) -> list[str]:
        """The text of each token [T] with the space before it."""
        return [self._next(token) for token in tokens.tolist()]

    def _next(self, token: int) -> str:
        text = self._texts[token]
        spaced = text if self._opened or token == self._end or text in CLOSING else f" {text}"
        self._opened = token == self._end or text in OPENING
        return spaced


def split_signs(block: str) -> list[str]:
    """Splits a text into words, single signs and white space, which make it up."""
    return splitter().findall(block)


@cache
def splitter() -> re.Pattern[str]:
    """Returns the expression that matches a piece at every place; it never goes back over what it read."""
    word = word_pattern()
    return re.compile(rf"{word}(?:[{APOSTROPHES}-]{word}|[.,:]\d\w*)*|[^\w\s]|\s")


def lower_word_builder(min_count: int, most: int | None) -> TableBuilder:
    """Returns what makes a vocabulary of lower-case words: at most so many, none of which is rarer."""

    def make(counts: Counter[str], special: SpecialTokens) -> LowerWordVocabulary:
        return LowerWordVocabulary(most_frequent(counts, min_count, most), with_unknown(special))

    def pieces(block: str) -> list[str]:
        lower = (piece.lower() for piece in split_signs(block))
        # A letter may be two in lower case, so that one that was short enough is none of them any more.
        return [p for p in lower if len(p) <= MAX_TOKEN and (not p.isspace() or p in LINES)]

    return TableBuilder(pieces, BEFORE_SPACES, make)

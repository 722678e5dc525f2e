"""The vocabulary of words: a token is a word with the space before it, and texts keep their case and spacing.

What comes out needs no editing: decoding puts tokens one behind the other.
"""

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import ClassVar

from msgspec.structs import replace

from charloom.vocabulary.cuts import BEFORE_SPACES
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, VocabularyError
from charloom.vocabulary.table import TableBuilder, TableVocabulary, most_frequent

LAST_MARK = 0x1F000
"""Behind it are no marks but variation selectors, which no word has."""
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
"""They are part of a word that goes on behind them."""
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""They are part of a word, as Persian and Hindi have them."""


class WordVocabulary(TableVocabulary):
    """A word with at most one space before it, a run of signs, or a single white space as a token."""

    kind: ClassVar[str] = "words"
    cuts = BEFORE_SPACES

    def __init__(self, texts: list[str], special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the tokens; one of the special ones must stand for words that are none of them."""
        needs_unknown(special)
        super().__init__(texts, special)

    def split(self, block: str) -> list[str]:
        """See TableVocabulary."""
        return split_words(block)


def needs_unknown(special: SpecialTokens) -> None:
    """Raises VocabularyError unless there is an unknown token."""
    if not special.unknown:
        raise VocabularyError("a vocabulary of words has an unknown token")


def split_words(block: str) -> list[str]:
    """Splits a text into words, runs of signs and white space, which make it up."""
    return splitter().findall(block)


@cache
def splitter() -> re.Pattern[str]:
    """Returns the expression that matches a piece at every place; it never goes back over what it read."""
    word = word_pattern()
    return re.compile(rf" ?{word}(?:[{APOSTROPHES}]{word})*|[^\w\s]+|\s")


@cache
def word_pattern() -> str:
    """Returns the expression of letters, digits and the marks on them."""
    marks = [chr(code) for code in range(0x300, LAST_MARK) if unicodedata.category(chr(code))[0] == "M"]
    return rf"\w+(?:[{''.join(marks)}{JOINERS}]+\w*)*"


def word_builder(min_count: int, most: int | None) -> TableBuilder:
    """Returns what makes a vocabulary of words of a text: at most so many, none of which is rarer."""

    def make(counts: Counter[str], special: SpecialTokens) -> WordVocabulary:
        return WordVocabulary(most_frequent(counts, min_count, most), with_unknown(special))

    return TableBuilder(split_words, BEFORE_SPACES, make)


def with_unknown(special: SpecialTokens) -> SpecialTokens:
    """Returns special tokens with the unknown one among them."""
    return replace(special, unknown=True)

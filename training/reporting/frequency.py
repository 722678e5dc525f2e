"""Frequencies: which tokens a text is made of, and how to name them to people."""

import unicodedata
from dataclasses import dataclass

import numpy as np

from charloom.printable import printable
from charloom.vocabulary import Ids, Vocabulary

LOOKED_AT = 1 << 24
"""Tokens from the beginning of a text that are enough to count, so that a huge one takes no time."""
PIECE = 1 << 16
"""Tokens counted at a time: counting takes eight bytes of memory for each."""
NAMES = {" ": "space", "\n": "newline", "\t": "tab"}


@dataclass(frozen=True)
class Frequency:
    """A token's text and its share of a text."""

    token: str
    share: float

    @property
    def name(self) -> str:
        """What stands for it where people read."""
        if len(self.token) == 1:
            return NAMES.get(self.token) or visible(self.token)
        return printable(self.token, strict=True).replace(" ", "\N{OPEN BOX}")


def most_frequent(text: Ids, vocabulary: Vocabulary, most: int) -> list[Frequency]:
    """The most frequent tokens of a text [n], at most so many, the most frequent first."""
    counts = np.zeros(vocabulary.inputs, np.int64)
    for first in range(0, len(text), PIECE):
        counts += np.bincount(text[first : first + PIECE], minlength=vocabulary.inputs)
    counts = counts[: vocabulary.size]  # labels are no part of the text
    total = counts.sum()
    order = np.argsort(-counts, kind="stable")[:most]
    found = order[counts[order] > 0].tolist()
    return [Frequency(vocabulary.token_text(i), float(counts[i] / total)) for i in found]


def visible(character: str) -> str:
    """A character, or its number and name if it shows nothing by itself."""
    if character.isprintable() and not unicodedata.combining(character):
        return character
    return f"U+{ord(character):04X} {unicodedata.name(character, '').lower()}".strip()

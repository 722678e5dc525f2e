"""Frequencies: which characters a text is made of, and how to name them to people."""

import unicodedata
from dataclasses import dataclass

import numpy as np

from charloom.protocol import Ids
from charloom.vocabulary import CharacterVocabulary

LOOKED_AT = 1 << 24
"""Characters from the beginning of a text that are counted, so that a huge one takes no time."""
PIECE = 1 << 16
"""Characters counted at a time: counting takes eight bytes of memory for each."""
NAMES = {" ": "space", "\n": "newline", "\t": "tab"}


@dataclass(frozen=True)
class Frequency:
    """A character and its share of a text."""

    character: str
    share: float

    @property
    def name(self) -> str:
        """Name of the character for people."""
        return NAMES.get(self.character) or visible(self.character)


def most_frequent(text: Ids, vocabulary: CharacterVocabulary, most: int) -> list[Frequency]:
    """The most frequent characters of a text [n], at most so many, the most frequent first."""
    text = text[:LOOKED_AT]
    counts = np.zeros(vocabulary.size, np.int64)
    for first in range(0, len(text), PIECE):
        counts += np.bincount(text[first : first + PIECE], minlength=vocabulary.size)
    order = np.argsort(-counts, kind="stable")[:most]
    found = order[counts[order] > 0].tolist()
    return [Frequency(vocabulary.characters[i], float(counts[i] / len(text))) for i in found]


def visible(character: str) -> str:
    """A character, or its number and name if it shows nothing by itself."""
    if character.isprintable() and not unicodedata.combining(character):
        return character
    return f"U+{ord(character):04X} {unicodedata.name(character, '').lower()}".strip()

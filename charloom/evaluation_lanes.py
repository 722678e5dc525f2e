"""The lanes in which a loss over a text is measured, the same in training and for a bundle.

A text is read in lanes, side by side. The first lane begins as a fresh stream does, with the start
token and the state of a fresh stream. Every other lane begins with that state too, but first reads the
tokens before its piece, which do not count. From there each lane carries its state to its end; nothing
is learnt on the way. Every token of the text counts once. One lane is the whole text as one stream.
"""

from collections.abc import Iterator

import numpy as np

from charloom.vocabulary import Ids, Tokens

MAX_LANES = 32
PIECE = 2_048
"""Tokens of a lane, at the least; both where the number of lanes is left open."""
PRIME = 256
"""Tokens that a lane reads before its piece."""
CHUNK = 256
"""Steps that go through a model at a time."""

UNCOUNTED = -100
"""The target that fills a short last lane and does not count."""


class EvaluationLanes:
    """A text in B lanes of T tokens; what is not asked for is not read, should the text lie on a disk."""

    def __init__(self, text: Ids, start: int, count: int = 0) -> None:
        """Takes token ids [n], at least one, the start token, and how many lanes; 0: as many as suit it."""
        assert len(text), "there is something to measure"
        self.text = text
        self.start = start
        self.count = min(count, len(text)) or max(1, min(MAX_LANES, len(text) // PIECE))
        self.time = -(-len(text) // self.count)

    def prime(self) -> Tokens:
        """What all lanes but the first read before they begin [P, B - 1]."""
        firsts = np.arange(1, self.count) * self.time
        return self._fed(np.arange(-min(PRIME, self.time), 0)[:, None] + firsts)

    def chunks(self, length: int = CHUNK) -> Iterator[tuple[Tokens, Tokens]]:
        """What the lanes are fed and should answer, each [S, B], S at most `length`, chunk after chunk."""
        for first in range(0, self.time, length):
            steps = np.arange(first, min(first + length, self.time))
            places = steps[:, None] + np.arange(self.count) * self.time  # [S, B]
            yield self._fed(places), self._wanted(places)

    def _wanted(self, places: Tokens) -> Tokens:
        """The tokens at these places; UNCOUNTED beyond the end."""
        tokens = self.text[np.minimum(places, len(self.text) - 1)].astype(np.int64)
        return np.where(places < len(self.text), tokens, UNCOUNTED)

    def _fed(self, places: Tokens) -> Tokens:
        """What is fed for these places to be answered: what is before them; anything beyond the end."""
        tokens = self.text[np.clip(places - 1, 0, len(self.text) - 1)].astype(np.int64)
        return np.where(places > 0, tokens, self.start)

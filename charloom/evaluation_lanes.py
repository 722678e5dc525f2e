"""The lanes in which a loss over a text is measured, the same in training and for a bundle.

A text is read in lanes, side by side. The first lane begins as a fresh stream does, with the start
token and the state of a fresh stream. Every other lane begins with that state too, but first reads the
tokens before its piece, which do not count. From there each lane carries its state to its end; nothing
is learnt on the way. Every token of the text counts once. One lane is the whole text as one stream.
"""

from collections.abc import Iterator

import numpy as np

from charloom.chunk import UNCOUNTED, TokenChunk
from charloom.vocabulary import Ids, Tokens

MAX_LANES = 32
PIECE = 2_048
"""Tokens of a lane, at the least; both where the number of lanes is left open."""
PRIME = 256
"""Tokens that a lane reads before its piece."""
CHUNK = 256
"""Steps that go through a model at a time."""


class EvaluationLanes:
    """A text in B lanes of T tokens; what is not asked for is not read, should the text lie on a disk."""

    def __init__(self, text: Ids, start: int, count: int = 0) -> None:
        """Takes token ids [n], at least one, the start token, and how many lanes; 0: as many as suit it."""
        assert len(text), "there is something to measure"
        self.text = text
        self.start = start
        self.count = min(count, len(text)) or max(1, min(MAX_LANES, len(text) // PIECE))
        self.time = -(-len(text) // self.count)

    @property
    def answers(self) -> int:
        """See EvaluationBatches."""
        return len(self.text)

    def chunks(self, places: int = MAX_LANES * CHUNK) -> Iterator[TokenChunk]:
        """Yields what the lanes are fed and should answer; see EvaluationBatches.

        The first lane is the last row, since it begins when the others have read what is before them.
        """
        length = max(1, min(CHUNK, places // self.count))
        order = np.roll(np.arange(self.count), -1) * self.time
        others = order[:-1]
        if len(others):
            fed = self._fed(np.arange(-min(PRIME, self.time), 0)[:, None] + others)
            yield TokenChunk(fed, np.full(fed.shape, UNCOUNTED), 0, 0)
        carried = len(others)
        for first in range(0, self.time, length):
            steps = np.arange(first, min(first + length, self.time))
            read = steps[:, None] + order  # [S, B]
            targets = self._wanted(read)
            yield TokenChunk(self._fed(read), targets, carried, int((targets != UNCOUNTED).sum()))
            carried = self.count

    def _wanted(self, places: Tokens) -> Tokens:
        """The tokens at these places; UNCOUNTED beyond the end."""
        tokens = self.text[np.minimum(places, len(self.text) - 1)].astype(np.int64)
        return np.where(places < len(self.text), tokens, UNCOUNTED)

    def _fed(self, places: Tokens) -> Tokens:
        """What is fed for these places to be answered: what is before them; anything beyond the end."""
        tokens = self.text[np.clip(places - 1, 0, len(self.text) - 1)].astype(np.int64)
        return np.where(places > 0, tokens, self.start)

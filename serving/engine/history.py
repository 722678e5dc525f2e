"""The history of a stream: its tokens, and states along them, so that any earlier token can be gone back to.

It is bounded: what is too long ago is forgotten, and so are states close to others. It runs nothing: who
goes back reads the tokens that `back` gives from the snapshot beside them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile, zip_longest

import numpy as np

from charloom.vocabulary import Tokens, no_tokens
from serving.engine.snapshot import Snapshot

SPARSER = 4
"""How much further from the end each state is than the one after it, where many tokens come at once."""


@dataclass(frozen=True, eq=False)
class History:
    """What a stream remembers of itself; never changed, so that a fork may share it."""

    snapshots: tuple[Snapshot, ...]
    """Oldest first; the newest is where the stream stands."""
    tokens: Tokens
    """Those after the oldest snapshot, to where the stream stands: int64 [T]."""
    limit: int
    """Most tokens that can be gone back."""
    apart: int
    """Most tokens between two snapshots that need none between them: to go back, so many are read again."""

    @classmethod
    def of(cls, snapshot: Snapshot, limit: int, apart: int) -> "History":
        """A history that begins here."""
        return cls((snapshot,), no_tokens(), limit, apart)

    @property
    def here(self) -> Snapshot:
        """Where the stream stands."""
        return self.snapshots[-1]

    @property
    def known(self) -> int:
        """How many tokens can be gone back."""
        return min(self.limit, len(self.tokens))

    def parts(self, tokens: Tokens) -> list[Tokens]:
        """Tokens [T] that come after, cut where states are wanted, so that to go back little is read again.

        The further from the end, the fewer: who goes back a step does so more often than who goes back far.
        """
        near = takewhile(lambda far: far < self.limit, (self.apart * SPARSER**i for i in count()))
        places = sorted({len(tokens) - far for far in (*near, self.limit) if far < len(tokens)})
        return [part for part in np.split(tokens, places) if len(part)]

    def extended(self, tokens: Tokens, snapshots: Sequence[Snapshot]) -> "History":
        """With tokens [T] that came after, and snapshots along them, the last after all of them."""
        all_tokens = np.concatenate([self.tokens, tokens])
        kept = (*self.snapshots, *snapshots)
        assert kept[-1].position == kept[0].position + len(all_tokens), "the last is where the stream stands"
        # The oldest that is of use is the last one at or before the limit.
        first = max(0, bisect_right(kept, kept[-1].position - self.limit, key=position) - 1)
        forgotten = kept[first].position - kept[0].position
        thinned = tuple(spaced(kept[first:], self.apart))
        return replace(self, snapshots=thinned, tokens=all_tokens[forgotten:])

    def back(self, count: int) -> tuple["History", Tokens]:
        """The history until a snapshot at or before `count` tokens ago, and those [T] from there to then."""
        assert 0 <= count <= self.known, "no further back than is known"
        target = self.here.position - count
        last = bisect_right(self.snapshots, target, key=position)
        kept = self.snapshots[:last]
        begin = kept[-1].position - kept[0].position
        to_read = self.tokens[begin : len(self.tokens) - count]
        return replace(self, snapshots=kept, tokens=self.tokens[:begin]), to_read

    def newest(self, count: int) -> Tokens:
        """The last so many tokens [T]."""
        return self.tokens[len(self.tokens) - count :]


def spaced(snapshots: Sequence[Snapshot], apart: int) -> Iterator[Snapshot]:
    """The first, the last, and of the others those whose neighbours would be further than `apart` apart."""
    before: Snapshot | None = None
    for snapshot, after in zip_longest(snapshots, snapshots[1:]):
        if before is None or after is None or after.position - before.position > apart:
            before = snapshot
            yield snapshot


def position(snapshot: Snapshot) -> int:
    """Of a snapshot."""
    return snapshot.position

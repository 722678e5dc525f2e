"""The history of a stream: its tokens, and states along them, so that any earlier token can be gone back to.

It is bounded: the oldest tokens are dropped, and states close to others. It runs nothing: who goes back
reads the tokens that `back` gives from the snapshot beside them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, count, takewhile, zip_longest

import numpy as np

from charloom.vocabulary import CONTEXT, Decoder, Tokens, Vocabulary, no_tokens
from serving.engine.snapshot import Snapshot

SPARSER = 4
"""How much further from the end each state is than the one after it, where many tokens come at once."""


@dataclass(frozen=True, eq=False)
class History:
    """The last tokens of a stream and states along them; never changed, so that a fork may share it."""

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

    def tail(self, vocabulary: Vocabulary) -> "Tail":
        """The tokens that can be gone back, and their text."""
        first = len(self.tokens) - self.known
        before = np.concatenate([self.snapshots[0].recent[-CONTEXT:], self.tokens[:first][-CONTEXT:]])
        return Tail(vocabulary, before, self.tokens[first:])


@dataclass(frozen=True)
class End:
    """The end of a stream, to be taken back."""

    tokens: int
    stays: str
    """The beginning of their text, which is to be read again."""
    goes: str
    """The rest of it."""


@dataclass(frozen=True, eq=False)
class Tail:
    """The last tokens of a stream, and which of them have its last characters."""

    vocabulary: Vocabulary
    before: Tokens
    """Those before them, as many as a decoder needs."""
    tokens: Tokens
    """int64 [T]"""

    @cached_property
    def texts(self) -> list[str]:
        """The text that each token completes [T]."""
        return self.vocabulary.decoder(self.before).put(self.tokens)

    @cached_property
    def ends(self) -> list[int]:
        """Characters before the first token and after each [T + 1]."""
        return [0, *accumulate(map(len, self.texts))]

    @cached_property
    def first(self) -> int:
        """The first place between two characters: the first tokens may be half of one."""
        return next((place for place in range(len(self.tokens)) if self._clean(place)), len(self.tokens))

    def decoder(self, place: int) -> Decoder:
        """A decoder that goes on with the token at a place."""
        before = np.concatenate([self.before, self.tokens[max(0, place - CONTEXT) : place]])
        return self.vocabulary.decoder(before[-CONTEXT:])

    @property
    def characters(self) -> int:
        """Characters that can be taken back."""
        return self.ends[-1] - self.ends[self.first]

    def last_tokens(self, count: int) -> "End":
        """The last tokens."""
        return End(count, "", "".join(self.texts[len(self.tokens) - count :]))

    def last_characters(self, count: int) -> "End":
        """The tokens that have the last characters; before them no character is unfinished."""
        assert 0 <= count <= self.characters, "no more than can be taken back"
        kept = self.ends[-1] - count
        place = bisect_right(self.ends, kept) - 1
        while place > self.first and not self._clean(place):
            place -= 1
        text, stays = "".join(self.texts[place:]), kept - self.ends[place]
        return End(len(self.tokens) - place, text[:stays], text[stays:])

    def _clean(self, place: int) -> bool:
        """Whether no character is unfinished before the token at a place."""
        return not self.decoder(place).unfinished


def spaced(snapshots: Sequence[Snapshot], apart: int) -> Iterator[Snapshot]:
    """The first, the last, and of the others those whose neighbours would be further than `apart` apart."""
    before: Snapshot | None = None
    for snapshot, after in zip_longest(snapshots, snapshots[1:]):
        if before is None or after is None or after.position - before.position > apart:
            before = snapshot
            yield snapshot


def position(snapshot: Snapshot) -> int:
    """The position of a snapshot."""
    return snapshot.position

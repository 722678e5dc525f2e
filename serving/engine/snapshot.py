"""Snapshots: where a stream stands after some token. Data only.

All that a stream's future depends on, but for the bundle and what is asked of it. It may be copied,
kept, and gone on from any number of times, here or elsewhere.
"""

from dataclasses import dataclass

from charloom.burst import Feeds
from charloom.vocabulary import Tokens


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state after the token at `position`."""

    state: Feeds
    """The state tensors by name, [1, ...] each."""
    last: int
    """The token that is fed next."""
    position: int
    """Tokens chosen so far, read and sampled alike; also the counter of the random numbers."""
    recent: Tokens
    """The newest of them, for penalties."""

"""State snapshots: everything that the future of a stream depends on, besides the bundle and the request."""

from dataclasses import dataclass

from charloom.burst import Array
from charloom.vocabulary import Tokens

Labels = tuple[int, ...]
"""The tokens of a record's labels, one for each column; none in a model without labels."""
State = dict[str, Array]
"""The state tensors of one stream by name, [1, ...] each."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state after the token at `position`; a stream can start from it any number of times, anywhere."""

    state: State
    last: int
    """The token that is fed next."""
    position: int
    """Tokens chosen so far, forced and sampled; also the counter of the random numbers."""
    recent: Tokens
    """The newest of them, for penalties: int64 [W]."""
    labels: Labels = ()
    """The tokens of the labels of its records."""

"""Execution strategies: how the rows of a burst are spread over the threads of a CPU.

One thread may compute the whole burst and leave the other cores idle ("alone"). A batch may be cut into
shards, each computed by one thread from the first step to the last ("in shards"): rows are independent, so
no thread waits for another in between. Or all threads compute every product together ("together"): they
synchronise at each operator by spinning, which is fast for a few rows on an idle machine and slow beside
other programs. All strategies give the same bits.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind

CACHED = 16 * 2**20
"""Bytes of weights up to which every core can read all of them at every step from a cache."""
SHARD_ROWS = 64
"""Rows of a shard beyond which a row gets no cheaper; smaller shards spread better over threads of which
one may be delayed by other programs."""


@dataclass(frozen=True)
class Strategy:
    """One way to spread a burst over threads."""

    name: str
    threads: int
    """Intra-op threads of the session."""
    shards: int
    """Parts, one thread each, that a batch is cut into; a large batch is cut into more."""


def find_strategies(device: str, weight_bytes: int, threads: int) -> list[Strategy]:
    """Returns the strategies worth trying for a model, the default one first.

    A model too large for the caches is always computed by all threads together, as is one on a GPU.
    """
    alone, in_shards = Strategy("alone", 1, 1), Strategy("in shards", 1, threads)
    together = Strategy("together", threads, 1)
    if device == "cuda" or weight_bytes > CACHED or threads == 1:
        return [together]
    return [alone, in_shards, together]


def usable(strategies: Sequence[Strategy], rows: int) -> list[int]:
    """Returns the indices of those that may be fastest for so many rows.

    Shards alone, if every thread gets a full one; no more shards than rows otherwise.
    """
    shards = [strategy.shards for strategy in strategies]
    if max(shards) > 1 and rows >= max(shards) * SHARD_ROWS:
        return [shards.index(max(shards))]
    return [i for i, count in enumerate(shards) if count <= max(1, rows)]


class ShardPool:
    """Threads that compute the shards of a burst, the calling thread among them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max(1, threads - 1), "burst")

    def run(self, run: Callable[[Feeds], Feeds], kind: GraphKind, feeds: Feeds, count: int) -> Feeds:
        """Runs a burst of B rows as about `count` shards.

        Args:
            run: computes one shard.
            kind: the graph, which says along which axis each input has its rows.
            feeds: all inputs, state included.
            count: shards, at most B; more if they would be larger than SHARD_ROWS.

        Raises:
            CharloomError: `run` failed for some shard.
        """
        shards = cut(kind, feeds, max(count, len(feeds["last"]) // SHARD_ROWS))
        futures = [self._pool.submit(run, shard) for shard in shards]
        parts: list[Feeds] = []
        # This thread takes shards from the end, until it meets those that take them from the beginning.
        for shard, future in zip(reversed(shards), reversed(futures), strict=True):
            parts.append(run(shard) if future.cancel() else future.result())
        return join(parts[::-1])


def cut(kind: GraphKind, feeds: Feeds, count: int) -> list[Feeds]:
    """Cuts a burst into `count` bursts of about equally many rows, without copying them."""
    axes = {spec.name: spec.dims.index("B") for spec in INPUTS[kind]}
    edges = np.linspace(0, len(feeds["last"]), count + 1).astype(int).tolist()
    return [
        {
            name: array[:, begin:end] if axes.get(name, 0) else array[begin:end]
            for name, array in feeds.items()
        }
        for begin, end in pairwise(edges)
    ]


def join(parts: Sequence[Feeds]) -> Feeds:
    """Joins the outputs of several bursts into those of one."""
    axes = {spec.name: spec.dims.index("B") for spec in FULL_OUTPUTS}
    return {name: np.concatenate([part[name] for part in parts], axes.get(name, 0)) for name in parts[0]}

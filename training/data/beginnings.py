"""Beginnings: where the lines of a training text begin, in a table that is small for any text."""

import numpy as np
from numpy.typing import NDArray

from charloom.vocabulary import Ids
from training.data.token_file import release

MAX_BEGINNINGS = 1 << 18
"""Most beginnings that a table holds."""
BLOCK = 1 << 20
"""Tokens searched at a time."""

Places = NDArray[np.int64]
"""Places of a text [m], counted in tokens from its beginning."""


def line_beginnings(ids: Ids, newline: int, most: int = MAX_BEGINNINGS) -> Places:
    """Returns where lines that are not empty begin, in order: after a newline, or at the text's beginning.

    Of more than `most` lines every second, fourth, ... is taken, so that they are from all over the text.

    Args:
        ids: token ids of the text [n], which may be mapped from a file.
        newline: the token that ends a line.
        most: largest m.
    """
    parts = [np.zeros(int(len(ids) > 0 and ids[0] != newline), np.int64)]
    stride, seen, kept = 1, len(parts[0]), len(parts[0])
    for first in range(0, len(ids), BLOCK):
        ends = ids[first : first + BLOCK + 1] == newline
        found = np.flatnonzero(ends[:-1] & ~ends[1:]) + (first + 1)
        parts.append(found[-seen % stride :: stride])
        seen += len(found)
        kept += len(parts[-1])
        while kept > most:
            parts = [np.concatenate(parts)[::2]]
            stride, kept = 2 * stride, len(parts[0])
        release(ids)
    return np.concatenate(parts)


def any_places(length: int, most: int = MAX_BEGINNINGS) -> Places:
    """Returns places from all over a text of so many tokens, evenly apart."""
    return np.arange(0, length, -(-length // most))

"""The index of an output: of each record its attempt, its bytes and its hash, in rows of one size."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charloom.records.record_hash import HASH_BYTES

ROW = np.dtype([("number", "<u8"), ("bytes", "<u4"), ("hash", f"V{HASH_BYTES}")])
BLOCK = 2**16
"""Rows read at a time."""

Rows = npt.NDArray[np.void]


def encode_rows(numbers: Sequence[int], lengths: Sequence[int], hashes: Sequence[bytes]) -> bytes:
    """The bytes of the rows of records [N]."""
    rows = np.empty(len(numbers), ROW)
    rows["number"], rows["bytes"] = numbers, lengths
    rows["hash"] = np.frombuffer(b"".join(hashes), f"V{HASH_BYTES}")
    return rows.tobytes()


def read_rows(path: Path, count: int) -> Iterator[Rows]:
    """The first rows of an index, a block at a time.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        for begin in range(0, count, BLOCK):
            yield np.fromfile(stream, ROW, min(BLOCK, count - begin))


def hashes_of(rows: Rows) -> list[bytes]:
    """The hashes of rows."""
    return [one.tobytes() for one in rows["hash"]]

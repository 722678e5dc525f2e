"""The novelty filter: tells without the training text whether a record is certainly none of its records.

A Bloom filter (Bloom 1970) over record hashes, whose bits are probed by double hashing (Kirsch and
Mitzenmacher 2006). It never passes a record of the training text; of others it takes a few for copies,
and the share of those is known. It is numpy alone because it is a file of the bundle's format: no version
of another package decides how it is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charloom.records.record_hash import HASH_BYTES

FALSE_POSITIVE_RATE = 1e-4
"""The share of new records that a filter is made to take for copies."""
MAX_PROBES = 64

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class NoveltyFilter:
    """The bits of a set of records."""

    bits: Bits
    """uint8 [M / 8]"""
    probes: int
    """Bits of each record."""

    @classmethod
    def sized(cls, records: int, rate: float = FALSE_POSITIVE_RATE) -> "NoveltyFilter":
        """An empty filter for so many records, which then takes about this share of others for copies."""
        bits = max(64, math.ceil(records * math.log2(1 / rate) / math.log(2)))
        return cls(np.zeros(-(-bits // 8), np.uint8), max(1, round(math.log2(1 / rate))))

    def add(self, hashes: Sequence[bytes]) -> None:
        """Adds records by their hashes [N]."""
        places = self._places(hashes)
        np.bitwise_or.at(self.bits, places >> 3, self._masks(places))

    def holds(self, hashes: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Returns for records by their hashes [N] whether each may be one of the set; if not, it is none."""
        places = self._places(hashes)
        found: npt.NDArray[np.bool_] = (self.bits[places >> 3] & self._masks(places)).astype(np.bool_).all(1)
        return found

    @property
    def false_positive_rate(self) -> float:
        """The share of other records that it takes for copies, by the bits that are set."""
        return (int(np.bitwise_count(self.bits).sum()) / (8 * len(self.bits))) ** self.probes

    def _places(self, hashes: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """The bits of each record [N, probes]."""
        halves = np.frombuffer(b"".join(hashes), "<u8").reshape(-1, HASH_BYTES // 8)  # [N, 2]
        steps = np.arange(self.probes, dtype=np.uint64)
        sums = halves[:, :1] + steps * (halves[:, 1:] | np.uint64(1))
        return (sums % np.uint64(8 * len(self.bits))).astype(np.int64)

    @staticmethod
    def _masks(places: npt.NDArray[np.int64]) -> Bits:
        masks: Bits = np.left_shift(1, places & 7).astype(np.uint8)
        return masks

"""Token ids in a file: encoded once, then mapped into memory, so that a long text takes none of it.

The file holds the ids one after the other, and then a SHA-256 over a key and them. The key says what
the ids are of; a file of another key or size, or with a bit flipped, does not count. It appears under its
name when all of it is on disk, or not at all.
"""

import hashlib
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charloom.files import open_atomic
from charloom.vocabulary import Ids
from training.checkpoint import SaveError

BLOCK = 1 << 20
"""Bytes checked at a time."""


@dataclass(frozen=True)
class TokenFile:
    """Where token ids [n] are kept."""

    path: Path
    key: str
    """What they are of."""
    count: int
    """n, at least 1."""
    kind: np.dtype[np.generic]

    def ids(self) -> Ids:
        """The ids; pages of them are read as they are used, and are the system's to drop again."""
        # Copy on write: torch refuses memory that cannot be written to, and nobody writes.
        return np.memmap(self.path, self.kind, "c", shape=(self.count,)).view(np.ndarray)

    def fill(self, pieces: Iterable[Ids]) -> None:
        """Writes the ids, given in pieces.

        Raises:
            SaveError: they cannot be written, for example because the disk is full.
        """
        digest = self.keyed()
        try:
            with open_atomic(self.path) as stream:
                for piece in pieces:
                    digest.update(piece.data)
                    stream.write(piece.data)
                stream.write(digest.digest())
        except OSError as error:
            raise SaveError(f"cannot write {self.path}: {error.strerror}") from error

    def intact(self) -> bool:
        """Whether the file holds these ids, every bit of them."""
        digest = self.keyed()
        size = self.count * self.kind.itemsize
        try:
            with self.path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != size + digest.digest_size:
                    return False
                while block := stream.read(min(BLOCK, size - stream.tell())):
                    digest.update(block)
                return stream.read() == digest.digest()
        except OSError:
            return False

    def keyed(self) -> "hashlib._Hash":
        """A digest that the ids are still to be added to."""
        return hashlib.sha256(f"{self.key} {self.kind.str} {self.count}\n".encode())


def release(ids: Ids) -> None:
    """Gives the memory of ids that are mapped from a file back: they are read again where they are used."""
    base: object = ids
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)

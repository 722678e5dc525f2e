"""Doubles: which records there were already, in bounded memory, by their hashes in an SQLite file.

The file can be made anew from the index of the output, so nothing of it is ever synced.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from charloom.files import remove

CACHE_KIB = 128 * 1024
"""Memory that SQLite may take for its pages; the rest is the system's, which gives it up when it must."""
ROWS = 500
"""Hashes of one statement."""


class Doubles:
    """A set of record hashes on disk."""

    def __init__(self, path: Path) -> None:
        """Begins an empty set in a new file.

        Raises:
            OSError: it cannot be written.
        """
        remove(path)
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                self._connection.execute(f"PRAGMA {pragma}").close()
            self._connection.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        except sqlite3.Error as error:
            raise OSError(None, str(error), str(path)) from error

    def __enter__(self) -> "Doubles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, hashes: Sequence[bytes]) -> list[bool]:
        """Adds hashes [N]; returns for each whether it was there, or is earlier in the same list.

        Raises:
            OSError: the disk is full, or fails.
        """
        new: set[bytes] = set()
        try:
            for begin in range(0, len(hashes), ROWS):
                some = hashes[begin : begin + ROWS]
                values = ",".join(["(?)"] * len(some))
                insert = f"INSERT OR IGNORE INTO seen VALUES {values} RETURNING hash"  # noqa: S608
                with closing(self._connection.execute(insert, some)) as rows:
                    new.update(one for (one,) in rows)
        except sqlite3.Error as error:
            raise OSError(None, str(error), str(self._path)) from error
        double = []
        for one in hashes:
            double.append(one not in new)
            new.discard(one)
        return double

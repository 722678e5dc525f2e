"""JSON lines: a file of records, one JSON object a line, each of another step.

After a run was killed, its file may be ahead of the last checkpoint, and the last line may be cut. Opening
the file for the steps after that checkpoint drops what is ahead, so that in the end it holds the lines of
an undisturbed run.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from training.checkpoint import SaveError

Record = dict[str, Any]

MOST = 10_000
"""Records in memory beyond which every second one is dropped from it: a plot shows far fewer."""


class JsonLines:
    """One file of records, which are in memory too: all of them, or an even selection of very many."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[Record] = []
        self.stream: IO[bytes] | None = None

    def open(self, through: int) -> None:
        """Opens the file, keeps the records up to a step and drops all others.

        Raises:
            SaveError: the file cannot be read or written.
        """
        self.close()
        try:
            self.stream = self.path.open("a+b")
            self.stream.seek(0)
            self.kept, end = usable(self.stream, through)
            self.stream.truncate(end)
        except OSError as error:
            raise SaveError(f"cannot write {self.path}: {error.strerror}") from error

    def add(self, record: Record) -> None:
        """Writes a record of a later step than those before.

        Raises:
            SaveError: it cannot be written.
        """
        assert self.stream is not None, "it is open"
        assert not self.kept or record["step"] > self.kept[-1]["step"], "steps rise"
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            self.stream.write(line)
            self.stream.flush()
        except OSError as error:
            raise SaveError(f"cannot write {self.path}: {error.strerror}") from error
        self.kept.append(record)
        thin(self.kept)

    def sync(self) -> None:
        """Waits until everything written is on disk.

        Raises:
            SaveError: it cannot be written.
        """
        if self.stream is None:
            return
        try:
            os.fsync(self.stream.fileno())
        except OSError as error:
            raise SaveError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file."""
        if self.stream is not None:
            # What could not be written was an error when it was added.
            with contextlib.suppress(OSError):
                self.stream.close()
            self.stream = None


def thin(records: list[Record]) -> None:
    """Drops every second of too many records and keeps the first and the last."""
    if len(records) > MOST:
        del records[1:-1:2]


def usable(lines: Iterable[bytes], through: int) -> tuple[list[Record], int]:
    """Returns the whole records up to a step, and where in the file they end."""
    kept: list[Record] = []
    end = 0
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        step = record.get("step") if isinstance(record, dict) else None
        last = kept[-1]["step"] if kept else -1
        if not line.endswith(b"\n") or type(step) is not int or not last < step <= through:
            break
        kept.append(record)
        thin(kept)
        end += len(line)
    return kept, end

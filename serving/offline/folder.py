"""The folder of a job: the records so far, their index, and how far the job has come.

    records        the records, in the bytes of the output; of Parquet as JSON lines
    index          a row for each of them
    progress.json  the job, the attempts made, and how much of the two files counts
    doubles.sqlite the hashes of the records; made anew when a job goes on
    .lock          locked while a process is at work

`progress.json` is replaced after the two files are on disk. What they have beyond its numbers is of no
account and is cut off when the job goes on, so a process may end anywhere, and a disk may be full.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from charloom.errors import CharloomError
from charloom.files import PARTIAL, remove, sync, sync_folder, write_atomic
from charloom.folder_lock import LOCK, lock_folder
from serving.offline.index import ROW, encode_rows
from serving.offline.job import Job
from serving.offline.shard import Shard
from serving.offline.tally import Tally

RECORDS, INDEX, PROGRESS, DOUBLES, PARTS, REPLACED = (
    "records",
    "index",
    "progress.json",
    "doubles.sqlite",
    "parts",
    "replaced",
)


class JobFolderError(CharloomError):
    """A folder or an output cannot take the job."""

    exit_code = 11


class JobProgress(msgspec.Struct, forbid_unknown_fields=True):
    """How far a job has come."""

    job: Job
    attempts: int = 0
    """Attempts that are accounted for, of its shard alone."""
    records: int = 0
    bytes: int = 0
    """Bytes of the records."""
    tokens: int = 0
    """Tokens of the records."""
    tally: Tally = msgspec.field(default_factory=Tally)
    done: bool = False


def job_folder(output: Path, shard: Shard) -> Path:
    """Where the job of an output works: beside it, hidden; the folder of a shard is what it leaves behind."""
    if shard.count == 1:
        return output.with_name(PARTIAL + output.name)
    return output.with_name(f"{output.name}.shard-{shard.index}-of-{shard.count}")


def read_progress(folder: Path) -> JobProgress | None:
    """How far the job of a folder has come; None if there is none.

    Raises:
        JobFolderError: it is no folder of a job.
    """
    path = folder / PROGRESS
    try:
        return msgspec.json.decode(path.read_bytes(), type=JobProgress)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise JobFolderError(f"{path} cannot be used: {error}") from error


class JobFolder:
    """An open folder, locked until the context is left."""

    def __init__(self, path: Path, progress: JobProgress) -> None:
        """Takes the folder of a job and how far it has come; it is locked before that is read, by `lock`."""
        self.path = path
        self.progress = progress
        self._lock: int | None = None
        self._records: BinaryIO | None = None
        self._index: BinaryIO | None = None

    def __enter__(self) -> "JobFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._records, self._index):
            if stream is not None:
                with contextlib.suppress(OSError):  # of what a full disk left in the buffer
                    stream.close()
        if self._lock is not None:
            if not (self.path / PROGRESS).exists():  # no job was begun
                with contextlib.suppress(OSError):
                    (self.path / LOCK).unlink()
                    self.path.rmdir()
            os.close(self._lock)
            self._lock = None

    @property
    def records(self) -> Path:
        """The file of the records."""
        return self.path / RECORDS

    @property
    def index(self) -> Path:
        """The file of their index."""
        return self.path / INDEX

    def lock(self) -> None:
        """Makes the folder and locks it.

        Raises:
            JobFolderError: another process is at work in it.
            OSError: it cannot be made or written to.
        """
        try:
            self._lock = lock_folder(self.path)
        except BlockingIOError as error:
            raise JobFolderError(f"another process is at work in {self.path}") from error

    def check(self, progress: JobProgress) -> None:
        """Checks that the files have all that a progress counts.

        Raises:
            JobFolderError: they have less.
        """
        for path, size in ((self.records, progress.bytes), (self.index, progress.records * ROW.itemsize)):
            if size and not (path.exists() and path.stat().st_size >= size):
                raise JobFolderError(
                    f"{path} has less than {PROGRESS} beside it says: begin anew, --overwrite"
                )

    def clear(self) -> None:
        """Deletes all that is in the folder, which stays locked."""
        for path in self.path.iterdir():
            if path.name != LOCK:
                remove(path)

    def open(self, header: bytes) -> None:
        """Opens the files, cut to what counts; in a new folder begins them.

        Raises:
            OSError: they cannot be read or written.
        """
        header = b"" if self.progress.bytes else header
        self._records = self._opened(self.records, self.progress.bytes)
        self._index = self._opened(self.index, self.progress.records * ROW.itemsize)
        self._records.write(header)
        self.progress.bytes += len(header)
        self.commit()

    def append(self, numbers: Sequence[int], encoded: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """Appends records [N] by the numbers of their attempts; they count once `commit` is called.

        Raises:
            OSError: the disk is full, or fails.
        """
        assert self._records is not None
        assert self._index is not None
        self._records.writelines(encoded)
        lengths = list(map(len, encoded))
        self._index.write(encode_rows(numbers, lengths, hashes))
        self.progress.records += len(encoded)
        self.progress.bytes += sum(lengths)

    def commit(self) -> None:
        """Makes all that was appended count, whatever happens to the process or the machine.

        Raises:
            OSError: the disk is full, or fails; what counted before does so still.
        """
        assert self._records is not None
        assert self._index is not None
        sync(self._records)
        sync(self._index)
        write_atomic(self.path / PROGRESS, msgspec.json.encode(self.progress))

    def _opened(self, path: Path, size: int) -> BinaryIO:
        """Opens a file for writing behind its first bytes, and cuts the others off."""
        stream = path.open("r+b" if size else "w+b")
        stream.truncate(size)
        stream.seek(size)
        sync_folder(path.parent)
        return stream

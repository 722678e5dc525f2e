"""Atomic writes: files and folders that appear under their name when all of them is on disk, or not at all.

Each is written beside its place under a temporary name and synced; then it is renamed, and the folder that
holds the name is synced. So after a crash there is the old content or the new one, never a part. That
order is the one that LWN's "Ensuring data reaches disk" (Moyer 2011) gives.
"""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial-"
"""Prefix of the names of files and folders that are being written or deleted."""

UNSYNCABLE = {errno.EACCES, errno.EINVAL, errno.ENOTSUP}
"""Errors of folders that cannot be synced: those that may not be read, and some network file systems."""


def partial_path(path: Path) -> Path:
    """The temporary name of a file or folder, beside it."""
    return path.with_name(PARTIAL + path.name)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Opens a binary file that replaces `path` when the block ends without an error.

    Raises:
        OSError: it cannot be written; `path` is as it was before.
    """
    partial = partial_path(path)
    try:
        with partial.open("wb") as stream:
            yield stream
            sync(stream)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file, in place of the one that is there.

    Raises:
        OSError: it cannot be written; `path` is as it was before.
    """
    with open_atomic(path) as stream:
        stream.write(data)


def write_folder_atomic(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a new folder of files, each synced before the next one is begun.

    Args:
        folder: the new folder; there is none of this name yet.
        files: contents by name; a manifest that lists the others comes last.

    Raises:
        OSError: it cannot be written, and there is no such folder.
    """
    partial = partial_path(folder)
    try:
        remove(partial)
        partial.mkdir()
        for name, data in files.items():
            write_synced(partial / name, data)
        sync_folder(partial)
        partial.rename(folder)
        sync_folder(folder.parent)
    finally:
        with contextlib.suppress(OSError):
            remove(partial)


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file in place and waits until it is on disk."""
    with path.open("wb") as stream:
        stream.write(data)
        sync(stream)


def sync(stream: BinaryIO) -> None:
    """Waits until what was written to a file is on disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk, where the system can do that."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCABLE:
            raise


def discard(folder: Path) -> None:
    """Deletes a folder so that a part of it is never taken for the whole: it is renamed first."""
    remove(folder.rename(partial_path(folder)))


def remove(path: Path) -> None:
    """Deletes a file, or a folder with all it holds, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

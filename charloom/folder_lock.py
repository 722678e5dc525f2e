"""The lock of a folder: a file in it that one process at a time locks, where the platform can.

The system unlocks it however that process ends.
"""

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
"""Name of the file."""


def lock_folder(folder: Path, *, wait: bool = False) -> int:
    """Makes a folder and locks it; returns the descriptor of the lock file, which unlocks it when closed.

    Args:
        folder: the folder.
        wait: whether to wait for another process that has locked it.

    Raises:
        BlockingIOError: another process has locked it, and is not waited for.
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            pass  # a file system that knows no locks
    return descriptor

"""A value that was read from files and is read anew when they change."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from charloom.errors import CharloomError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Reloaded(Generic[T]):
    """Looks at its files whenever it is asked to, which several threads may do."""

    def __init__(self, files: Sequence[Path], read: Callable[[], T]) -> None:
        """Reads the value, and raises what `read` raises."""
        self._files = files
        self._read = read
        self._lock = Lock()
        self._seen = stamps(files)
        self.value = read()

    def refresh(self) -> bool:
        """Reads the value anew if the files have changed; whether it did.

        Where the files cannot be used, the value stays what it was, and the log says so once.
        """
        with self._lock:
            seen = stamps(self._files)  # before it reads: a change from now on is not missed
            if seen == self._seen:
                return False
            self._seen = seen
            try:
                self.value = self._read()
            except CharloomError as error:
                logger.error("%s; what was read before stays in use", error)  # noqa: TRY400
                return False
            logger.info("read anew: %s", ", ".join(map(str, self._files)))
            return True


def stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """What tells versions of files apart; None for one that is not there."""
    return [stamp(file) for file in files]


def stamp(file: Path) -> tuple[int, int, int] | None:
    """What tells versions of a file apart, the file that a link leads to."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

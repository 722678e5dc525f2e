"""The folder of a run: its checkpoints, which of them is the best and which the last, and no more.

`best` and `last` are small text files that name a checkpoint beside them. Files that Charloom did
not write are left alone. An empty file `.lock` is locked, where the platform can, as long as a
training uses the folder; the system unlocks it however that training ends.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from charloom.errors import CharloomError
from training.checkpoint import PARTIAL, SaveError, read_pointer, remove, sync_folder, write_synced

if sys.platform != "win32":
    import fcntl

NAME = re.compile(r"epoch\d+\.\d\d_loss\d+\.\d{4}(_step\d+)?")


class RunFolderError(CharloomError):
    """The folder cannot hold the run as it is."""

    exit_code = 11


class RunFolder:
    """A directory of checkpoints; leaving it as a context unlocks it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last"
        self.best = path / "best"
        self.descriptor: int | None = None
        """The open lock file."""

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def lock(self) -> None:
        """Makes the directory and keeps it from other trainings, if it is not locked already.

        Raises:
            RunFolderError: another training is using it, or it cannot be made or written to.
        """
        if self.descriptor is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError):  # of a file system that knows no locks
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(f"another training is using {self.path}") from error

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Sees to it that a run is there to resume, or none that would be lost.

        Raises:
            RunFolderError: it is otherwise.
        """
        if resume and overwrite:
            raise RunFolderError("--resume and --overwrite exclude each other")
        if resume and not self.last.is_file():
            raise RunFolderError(f"there is no run to resume in {self.path}")
        if self.last.is_file() and not (resume or overwrite):
            raise RunFolderError(
                f"{self.path} holds a run already: go on with it with --resume, "
                "replace it with --overwrite, or choose another --out"
            )

    def open(self, *, overwrite: bool) -> None:
        """Makes the directory, and clears it of unfinished checkpoints and of a run to overwrite.

        Raises:
            RunFolderError: it cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite:
                self.last.unlink(missing_ok=True)
                self.best.unlink(missing_ok=True)
                for folder in self.checkpoints():
                    discard(folder)
            for folder in self.path.glob(f"{PARTIAL}*"):
                remove(folder)
            probe = self.path / f"{PARTIAL}probe"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error

    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first."""
        found = [p for p in self.path.iterdir() if NAME.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))

    def save(self, name: str, step: int, write: Callable[[Path], None], *, best: bool, keep: int) -> None:
        """Has a checkpoint written, points `last` and perhaps `best` at it, and drops old ones.

        Raises:
            SaveError: it cannot be written; all that was there before is still there.
        """
        folder = self.path / name
        if folder.exists():
            folder = self.path / f"{name}_step{step}"
        if not folder.exists():
            write(folder)
        self.point(self.last, folder)
        if best:
            self.point(self.best, folder)
        self.prune(keep)

    def point(self, pointer: Path, folder: Path) -> None:
        """Makes `pointer` name a checkpoint, from one moment to the next."""
        temporary = self.path / f"{PARTIAL}{pointer.name}"
        try:
            write_synced(temporary, f"{folder.name}\n".encode())
            temporary.replace(pointer)
            sync_folder(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise SaveError(f"cannot write {pointer}: {error.strerror}") from error

    def prune(self, keep: int) -> None:
        """Drops all checkpoints but the best, the last and the newest `keep` others."""
        pointed = {read_pointer(p) for p in (self.best, self.last) if p.is_file()}
        others = [p for p in self.checkpoints() if p not in pointed]
        for folder in others[: max(0, len(others) - keep)]:
            discard(folder)


def discard(folder: Path) -> None:
    """Deletes a checkpoint so that no half of it is ever taken for one."""
    remove(folder.rename(folder.parent / (PARTIAL + folder.name)))

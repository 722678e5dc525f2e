"""The folder of a run: its checkpoints, and which of them is the best and which the last.

`best` and `last` are small text files that name a checkpoint beside them. The run log has files of fixed
names. Files that Charloom did not write are left alone. A file `.lock` is locked, where the platform can, as
long as a training uses the folder; the system unlocks it however that training ends. It holds the
identity of the training if torchrun can restart that.
"""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType

from charloom.errors import CharloomError
from charloom.files import PARTIAL, discard, remove, write_atomic
from charloom.folder_lock import LOCK, lock_folder
from training.checkpoint import MANIFEST, CheckpointError, SaveError, read_pointer
from training.data.corpus import TOKENS

METRICS, SAMPLES, PAGE, TENSORBOARD = "metrics.jsonl", "samples.jsonl", "report.html", "tensorboard"
"""Files of the log of a run."""
EVENTS = "events.out.tfevents.*"
FILES = ("last", "best", TOKENS, METRICS, SAMPLES, PAGE)
"""Files that a run replaces in its folder, beside checkpoints."""

NAME = re.compile(r"epoch\d+\.\d\d_loss\d+\.\d{4}(_step\d+)?")


class RunFolderError(CharloomError):
    """The folder cannot take the run."""

    exit_code = 11


class RunFolder:
    """A directory of checkpoints; leaving the context unlocks it."""

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
        """Makes the directory and locks it, unless it is locked already.

        Raises:
            RunFolderError: another training is using it, it cannot be made or written to, or it has files
                of somebody else's that a run would replace.
        """
        if self.descriptor is not None:
            return
        spare_others(self.path, FILES)
        try:
            self.descriptor = lock_folder(self.path)
        except BlockingIOError as error:
            raise RunFolderError(f"another training is using {self.path}") from error
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error

    def sign(self, job: str) -> None:
        """Writes the identity of the training into the lock file. Needs the lock."""
        assert self.descriptor is not None, "a folder is locked before it is signed"
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, job.encode(), 0)

    def holds_run_of(self, job: str) -> bool:
        """Returns whether there is a run of this training to resume."""
        try:
            return self.last.is_file() and (self.path / LOCK).read_text("utf-8") == job
        except (OSError, UnicodeDecodeError):
            return False

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Checks that there is a run to resume, or none that would be lost.

        Raises:
            RunFolderError: the check fails.
        """
        if resume and overwrite:
            raise RunFolderError("--resume and --overwrite exclude each other")
        if resume and not self.last.is_file():
            raise RunFolderError(f"there is no run to resume in {self.path}")
        if any(path.is_dir() for path in self.path.glob("trial-[0-9]*")):
            raise RunFolderError(f"{self.path} holds a sweep: choose another --out for the run")
        if self.last.is_file() and not (resume or overwrite):
            raise RunFolderError(
                f"{self.path} holds a run already: go on with it with --resume, "
                "replace it with --overwrite, or choose another --out"
            )

    def open(self, *, overwrite: bool) -> None:
        """Makes the directory, and deletes unfinished files and a run to overwrite.

        Raises:
            RunFolderError: it cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite:
                self.last.unlink(missing_ok=True)
                self.best.unlink(missing_ok=True)
                for notes in (*map(self.path.joinpath, (METRICS, SAMPLES, PAGE)), *self.events()):
                    notes.unlink(missing_ok=True)
                for folder in self.checkpoints():
                    discard(folder)
            for unfinished in self.path.glob(f"{PARTIAL}*"):
                remove(unfinished)
            probe = self.path / f"{PARTIAL}probe"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error

    def events(self) -> list[Path]:
        """Lists TensorBoard's files."""
        return list((self.path / TENSORBOARD).glob(EVENTS))

    def checkpoints(self) -> list[Path]:
        """Lists all checkpoints, oldest first."""
        found = [p for p in self.path.iterdir() if NAME.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))

    def save(self, name: str, step: int, write: Callable[[Path], None], *, best: bool, keep: int) -> None:
        """Writes a checkpoint, points `last` and perhaps `best` at it, and deletes old ones.

        Raises:
            SaveError: it cannot be written; all that was there before is still there.
        """
        folder = self.path / name
        if folder.exists():
            folder = self.path / f"{name}_step{step}"
        if not folder.exists():
            write(folder)
        if best:  # before `last`: a run that resumes from there does not evaluate this step again
            self.point(self.best, folder)
        self.point(self.last, folder)
        with contextlib.suppress(OSError):  # another process deletes it too, or is still reading it
            self.prune(keep)

    def point(self, pointer: Path, folder: Path) -> None:
        """Makes `pointer` name a checkpoint, atomically."""
        try:
            write_atomic(pointer, f"{folder.name}\n".encode())
        except OSError as error:
            raise SaveError(f"cannot write {pointer}: {error.strerror}") from error

    def prune(self, keep: int) -> None:
        """Deletes all checkpoints but the best, the last and the newest `keep` others."""
        pointed = {read_pointer(p) for p in (self.best, self.last) if p.is_file()}
        others = [p for p in self.checkpoints() if p not in pointed]
        for folder in others[: max(0, len(others) - keep)]:
            discard(folder)


def spare_others(folder: Path, names: Collection[str]) -> None:
    """Raises RunFolderError if a folder that no training has used yet has files of such names."""
    if (folder / LOCK).exists() or is_pointer(folder / "last"):
        return
    for name in names:
        if (folder / name).exists():
            raise RunFolderError(f"{folder} has a {name} that no training wrote: choose another --out")


def spare_texts(folder: Path, names: Collection[str], texts: Iterable[Path]) -> None:
    """Raises RunFolderError if a text to train on is one of the files of such names in a folder."""
    # Not by Path.resolve, which bears no link that leads to itself.
    written = {os.path.realpath(folder / name) for name in names}
    for text in texts:
        if os.path.realpath(text) in written:
            raise RunFolderError(f"training would write to {text} itself: choose another --out")


def is_pointer(path: Path) -> bool:
    """Returns whether a file names a checkpoint beside it."""
    try:
        return (read_pointer(path) / MANIFEST).is_file()
    except (CheckpointError, OSError):
        return False

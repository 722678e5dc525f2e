"""The folder of a sweep: its trials' runs, its table and plot, and a copy of the best checkpoint."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from charloom.files import discard, write_atomic, write_folder_atomic
from charloom.folder_lock import lock_folder
from training.checkpoint import MANIFEST, SaveError, read_pointer
from training.data.corpus import TOKENS
from training.folder import RunFolder, RunFolderError, spare_others, spare_texts
from training.sweeping.outcome import Row, best_of
from training.sweeping.plot import plot
from training.sweeping.space import Space
from training.sweeping.table import csv_table

TABLE, PLOT = "table.csv", "plot.svg"
FILES = ("best", TOKENS, TABLE, PLOT)
"""What a sweep replaces in its folder, beside checkpoints and trials."""


class SweepFolder:
    """The folder of a sweep, which several processes may use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes that use the folder out of their own such blocks.

        Raises:
            RunFolderError: the folder cannot be made or written to.
        """
        try:
            descriptor = lock_folder(self.path, wait=True)
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            yield
        finally:
            os.close(descriptor)

    def check(self, texts: Iterable[Path]) -> None:
        """Raises RunFolderError if it holds a run, or anything else, that the sweep would replace."""
        if RunFolder(self.path).last.is_file():
            raise RunFolderError(f"{self.path} holds a run: choose another --out for the sweep")
        spare_others(self.path, FILES)
        spare_texts(self.path, FILES, texts)

    def write(self, rows: list[Row], space: Space) -> None:
        """Writes the table and the plot, and points `best` at the best checkpoint that is here.

        Raises:
            SaveError: one of them cannot be written.
        """
        try:
            write_atomic(self.path / TABLE, csv_table(rows, list(space.variations)).encode())
            write_atomic(self.path / PLOT, plot(rows, space.variations).encode())
            if best := best_of([row for row in rows if self.has(row)]):
                self.copy_best(best)
        except OSError as error:
            raise SaveError(f"cannot write to {self.path}: {error.strerror}") from error

    def has(self, row: Row) -> bool:
        """Whether the checkpoint of a trial's loss is in this folder, and not on another machine."""
        best = self.path / row.folder / "best"
        loss = row.outcome.loss
        return loss is not None and best.is_file() and f"_loss{loss:.4f}" in read_pointer(best).name

    def copy_best(self, row: Row) -> None:
        """Copies the best checkpoint of a trial here, in place of the one before."""
        best = RunFolder(self.path)
        source = read_pointer(RunFolder(self.path / row.folder).best)
        name = f"{row.name}_{source.name}"
        if not (self.path / name).is_dir():
            files = sorted(source.iterdir(), key=lambda file: file.name == MANIFEST)  # the manifest last
            write_folder_atomic(self.path / name, {file.name: file.read_bytes() for file in files})
        best.point(best.best, self.path / name)
        for other in self.path.glob("trial-*_epoch*_loss*"):
            if other.name != name:
                discard(other)

"""The logbook of a run: what its folder holds beside checkpoints.

    metrics.jsonl     losses, learning rate and speed, every some steps and at every evaluation
    samples.jsonl     what the model wrote at every evaluation
    report.html       all of it for people, written anew at every evaluation
    tensorboard/      the numbers once more, where they are asked for

It says when and where things are noted, and leaves what they are to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from charloom.errors import require
from charloom.files import write_atomic
from training.checkpoint import SaveError
from training.folder import BOARD, METRICS, PAGE, SAMPLES
from training.reporting.board import Board
from training.reporting.page import Facts, Page
from training.reporting.records import Record, Records


@dataclass(frozen=True)
class LogbookConfig:
    """What a run notes."""

    metrics_every: int = 50
    """Steps between two lines of metrics.jsonl; 0: evaluations alone."""
    tensorboard: bool = False
    """Write the numbers for TensorBoard too, which must be installed."""

    def __post_init__(self) -> None:
        require(self.metrics_every >= 0, "metrics-every", "must be at least 0")


class Logbook:
    """What a run notes in its folder; leaving it as a context closes its files."""

    def __init__(self, folder: Path, config: LogbookConfig) -> None:
        """Raises BoardError if TensorBoard is asked for and not installed."""
        self.folder = folder
        self.config = config
        self.metrics = Records(folder / METRICS)
        self.samples = Records(folder / SAMPLES)
        self.board = Board(folder / BOARD) if config.tensorboard else None
        self.page = Page()

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.close()

    @property
    def parts(self) -> Sequence[Records | Board]:
        """All that notes are kept in."""
        return [self.metrics, self.samples, *([self.board] if self.board else [])]

    def open(self, through: int) -> None:
        """Is ready for notes of the steps after this one, and drops what the folder has of them.

        Raises:
            SaveError: a file cannot be read or written.
        """
        for part in self.parts:
            part.open(through)

    def due(self, step: int) -> bool:
        """Whether the numbers of this step are to be noted, evaluated or not."""
        return self.config.metrics_every > 0 and step % self.config.metrics_every == 0

    def measure(self, record: Record) -> None:
        """Notes the numbers of a step.

        Raises:
            SaveError: they cannot be written.
        """
        self.metrics.add(record)
        if self.board:
            self.board.add(record)

    def sample(self, step: int, epoch: float, samples: Sequence[tuple[float, str]]) -> None:
        """Notes what the model writes at a step, by temperature.

        Raises:
            SaveError: it cannot be written.
        """
        texts = [{"temperature": temperature, "text": text} for temperature, text in samples]
        self.samples.add({"step": step, "epoch": epoch, "samples": texts})

    def sync(self) -> None:
        """Waits until everything noted is on disk."""
        for part in self.parts:
            part.sync()

    def show(self, facts: Facts) -> None:
        """Writes the page, from one moment to the next.

        Raises:
            SaveError: it cannot be written.
        """
        path = self.folder / PAGE
        content = self.page.render(facts, self.metrics.kept, self.samples.kept, datetime.now(UTC))
        try:
            write_atomic(path, content.encode())
        except OSError as error:
            raise SaveError(f"cannot write {path}: {error.strerror}") from error

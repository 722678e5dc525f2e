"""The log of a run: what its folder holds beside checkpoints.

metrics.jsonl     losses, learning rate and speed, every few steps and at every evaluation
samples.jsonl     samples of the model at every evaluation
report.html       all of it for people, rewritten at every evaluation
tensorboard/      the numbers for TensorBoard, with --tensorboard
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from charloom.files import write_atomic
from training.checkpoint import SaveError
from training.folder import METRICS, PAGE, SAMPLES, TENSORBOARD
from training.reporting.config import RunLogConfig
from training.reporting.json_lines import JsonLines, Record
from training.reporting.page import Facts, Page
from training.reporting.tensorboard import TensorBoardWriter


class RunLog:
    """The log of one run; leaving it as a context closes its files."""

    def __init__(self, folder: Path, config: RunLogConfig) -> None:
        """Opens nothing yet.

        Raises:
            TensorBoardError: TensorBoard is asked for and not installed.
        """
        self.folder = folder
        self.config = config
        self.metrics = JsonLines(folder / METRICS)
        self.samples = JsonLines(folder / SAMPLES)
        self.tensorboard = TensorBoardWriter(folder / TENSORBOARD) if config.tensorboard else None
        self.page = Page()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.close()

    @property
    def parts(self) -> Sequence[JsonLines | TensorBoardWriter]:
        """The files that records go to."""
        return [self.metrics, self.samples, *([self.tensorboard] if self.tensorboard else [])]

    def open(self, through: int) -> None:
        """Opens the files and drops what they hold of steps after this one.

        Raises:
            SaveError: a file cannot be read or written.
        """
        for part in self.parts:
            part.open(through)

    def due(self, step: int) -> bool:
        """Returns whether this step gets a record even if it is not evaluated."""
        return self.config.metrics_every > 0 and step % self.config.metrics_every == 0

    def add(self, record: Record) -> None:
        """Writes the record of a step.

        Raises:
            SaveError: it cannot be written.
        """
        self.metrics.add(record)
        if self.tensorboard:
            self.tensorboard.add(record)

    def add_samples(self, step: int, epoch: float, samples: Sequence[tuple[float, str]]) -> None:
        """Writes the samples of a step, by temperature.

        Raises:
            SaveError: they cannot be written.
        """
        texts = [{"temperature": temperature, "text": text} for temperature, text in samples]
        self.samples.add({"step": step, "epoch": epoch, "samples": texts})

    def sync(self) -> None:
        """Waits until everything written is on disk."""
        for part in self.parts:
            part.sync()

    def show(self, facts: Facts) -> None:
        """Replaces the page, whole or not at all.

        Raises:
            SaveError: it cannot be written.
        """
        path = self.folder / PAGE
        content = self.page.render(facts, self.metrics.kept, self.samples.kept, datetime.now(UTC))
        try:
            write_atomic(path, content.encode())
        except OSError as error:
            raise SaveError(f"cannot write {path}: {error.strerror}") from error

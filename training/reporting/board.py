"""The board: a run's numbers as TensorBoard reads them, where that is asked for and installed."""

from pathlib import Path
from typing import Any

from charloom.errors import CharloomError, how_to_install
from training.reporting.records import Record

SCALARS = {
    "training_loss": "loss/training",
    "validation_loss": "loss/validation",
    "learning_rate": "learning_rate",
    "characters_per_second": "characters_per_second",
}
"""What a record calls a number, and what TensorBoard does."""


class BoardError(CharloomError):
    """TensorBoard is asked for and not there."""


class Board:
    """The event files in a folder."""

    def __init__(self, path: Path) -> None:
        """Raises BoardError if the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise BoardError(
                f"--tensorboard needs the package tensorboard: {how_to_install('tensorboard')}"
            ) from error
        self.path = path
        self.kind = SummaryWriter
        self.writer: Any = None

    def open(self, through: int) -> None:
        """Is ready for numbers of later steps; of those already there, TensorBoard shows none any more."""
        self.close()
        self.writer = self.kind(str(self.path), purge_step=through + 1)

    def add(self, record: Record) -> None:
        """Notes the numbers of a record."""
        assert self.writer is not None, "it is open"
        for name, title in SCALARS.items():
            if record[name] is not None:
                self.writer.add_scalar(title, record[name], record["step"])

    def sync(self) -> None:
        """Hands everything noted to the system."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

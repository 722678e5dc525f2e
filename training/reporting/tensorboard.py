"""TensorBoard: the numbers of a run as TensorBoard reads them."""

from pathlib import Path
from typing import Any

from charloom.errors import CharloomError, how_to_install
from training.reporting.json_lines import Record

SCALARS = {
    "training_loss": "loss/training",
    "validation_loss": "loss/validation",
    "learning_rate": "learning_rate",
    "characters_per_second": "characters_per_second",
}
"""Fields of a record, and their names in TensorBoard."""


class TensorBoardError(CharloomError):
    """TensorBoard is asked for and not installed."""


class TensorBoardWriter:
    """Writes event files in a folder."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet.

        Raises:
            TensorBoardError: the package is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TensorBoardError(
                f"--tensorboard needs the package tensorboard: {how_to_install('tensorboard')}"
            ) from error
        self.path = path
        self.kind = SummaryWriter
        self.writer: Any = None

    def open(self, through: int) -> None:
        """Opens a file; TensorBoard drops what the files before it hold of later steps."""
        self.close()
        self.writer = self.kind(str(self.path), purge_step=through + 1)

    def add(self, record: Record) -> None:
        """Writes the numbers of a record."""
        assert self.writer is not None, "it is open"
        for name, title in SCALARS.items():
            if record[name] is not None:
                self.writer.add_scalar(title, record[name], record["step"])

    def sync(self) -> None:
        """Flushes everything written."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

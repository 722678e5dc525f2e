"""Interrupts: Ctrl-C and SIGTERM as a wish that the training loop grants between two steps."""

import signal
from types import FrameType, TracebackType

from charloom.errors import CharloomError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(CharloomError):
    """Training was asked to stop, and stopped with a checkpoint."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interrupt:
    """Within it, the first signal is noted in `number`; a second one acts at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> "Interrupt":
        self.previous = {number: signal.signal(number, self.note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Notes a signal."""
        self.number = number
        self.restore()

    def restore(self) -> None:
        """Gives the signals back their former effect."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

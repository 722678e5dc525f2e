"""Interrupts: Ctrl-C and SIGTERM as a wish, noted for training to grant between two steps.

Evaluation grants it between two pieces of the held-out text.
"""

import signal
from types import FrameType, TracebackType

from charloom.errors import CharloomError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(CharloomError):
    """Training was asked to stop, and stopped with a checkpoint where there was something to keep."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption(Exception):  # noqa: N818
    """A signal was noted; raised at a point where the run can be left as it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupt:
    """Within it, the first signal is noted, to be heeded soon; a second one acts at once."""

    def __init__(self) -> None:
        self.number = 0
        """The signal that was noted; 0 for none."""

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

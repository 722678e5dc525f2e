"""Interrupts: Ctrl-C and SIGTERM are noted, and training stops at the next point where it can save.

That is between two steps, and during an evaluation between two chunks of the held-out text.
"""

import signal
from types import FrameType, TracebackType

from charloom.errors import CharloomError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(CharloomError):
    """A signal stopped the training, which saved a checkpoint if there was something to save."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption(Exception):  # noqa: N818
    """A signal was received; raised where the run can be left as it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupt:
    """As a context, notes the first signal; a second one has its usual effect at once."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the received signal; 0 for none."""

    def __enter__(self) -> "Interrupt":
        self.previous = {number: signal.signal(number, self.note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handles a signal."""
        self.number = number
        self.restore()

    def restore(self) -> None:
        """Restores the former handlers of the signals."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

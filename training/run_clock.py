"""The clock of a run: how long it has taken, over all its interruptions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class RunClock:
    """Seconds of a run, and those of them that went into evaluations."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.evaluation_seconds = 0.0
        """Seconds of evaluations, with their checkpoints and samples."""

    def resume(self, seconds: float, evaluation_seconds: float) -> None:
        """Goes on from the seconds that a checkpoint states."""
        self.started -= seconds
        self.evaluation_seconds = evaluation_seconds

    def elapsed(self) -> float:
        """Seconds that the run has taken, without those between an interruption and its resumption."""
        return time.monotonic() - self.started

    def training_seconds(self) -> float:
        """Seconds in which the run trained and did not evaluate."""
        return self.elapsed() - self.evaluation_seconds

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Counts the seconds within it as evaluation."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.evaluation_seconds += time.monotonic() - begun

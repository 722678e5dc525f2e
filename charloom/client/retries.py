"""Retries: whether a text that broke off is gone on with, and when.

It knows failures and time, and nothing of what is asked again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

GONE = {
    grpc.StatusCode.UNAVAILABLE,  # the server, or the way to it, is gone
    grpc.StatusCode.CANCELLED,  # by a server that ends; who cancels himself asks no more
}
"""If a call fails so before anything was heard of it, another server may well take it."""
GOES_ON = GONE | {
    grpc.StatusCode.INTERNAL,  # a burst failed; or how gRPC reports some connections that were cut
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
"""Failures after which another attempt may well succeed."""


@dataclass(frozen=True)
class RetryConfig:
    """How patient a client is with servers that fail."""

    attempts: int = 12
    """Failures in a row, without anything new between them, after which it gives up; 1 never tries again."""
    shortest: float = 0.05
    """Seconds before the second attempt; twice as many before each further one ..."""
    longest: float = 5.0
    """... up to this."""
    obeyed: float = 30.0
    """A server that says how long to wait is given that, up to so many seconds."""
    patience: float = 30.0
    """Seconds without a word, heartbeats included, after which a server is taken to hang."""


@dataclass
class Retries:
    """The failures of one text so far."""

    config: RetryConfig
    chance: Callable[[], float] = random.random
    """0 to 1: spreads those who failed together."""
    failures: int = field(default=0, init=False)
    """In a row."""

    def progress(self) -> None:
        """Takes note of something new."""
        self.failures = 0

    def delay(self, code: grpc.StatusCode, asked: float | None) -> float | None:
        """Seconds until the next attempt after a failure; None if there is to be none.

        `asked` is what the server asked for, if it did.
        """
        self.failures += 1
        if code not in GOES_ON or self.failures >= self.config.attempts:
            return None
        wait = min(self.config.longest, self.config.shortest * 2.0 ** (self.failures - 1))
        wait *= 0.5 + 0.5 * self.chance()
        return max(wait, min(asked, self.config.obeyed)) if asked else wait

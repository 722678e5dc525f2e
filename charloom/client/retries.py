"""Retries: whether a generation that broke off is retried, and when."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

UNREACHABLE = {
    grpc.StatusCode.UNAVAILABLE,  # the server, or the network before it, is gone
    grpc.StatusCode.CANCELLED,  # by a server that ends; a client that cancels does not retry
}
"""Failures before the first response after which another server is tried at once."""
RETRYABLE = UNREACHABLE | {
    grpc.StatusCode.INTERNAL,  # a burst failed; or how gRPC reports some connections that were cut
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
"""Failures after which another attempt may well succeed."""


@dataclass(frozen=True)
class RetryConfig:
    """When a client retries, in the words of gRPC's retry policy; times in seconds."""

    max_attempts: int = 12
    """Failures in a row, with no new response between them, after which it gives up; 1: it never retries."""
    initial_backoff: float = 0.05
    """Delay before the second attempt; doubled before each further one ..."""
    max_backoff: float = 5.0
    """... up to this."""
    max_retry_after: float = 30.0
    """Longest delay that a server may ask for with retry-after."""
    idle_timeout: float = 30.0
    """Time without a response, heartbeats included, after which a server counts as hung."""


@dataclass
class Retries:
    """The failures of one generation so far."""

    config: RetryConfig
    jitter: Callable[[], float] = random.random
    """Gives a number in [0, 1), by which clients that failed together are spread."""
    failures: int = field(default=0, init=False)
    """Failures in a row."""

    def reset(self) -> None:
        """Counts anew, after a response."""
        self.failures = 0

    def delay(self, code: grpc.StatusCode, retry_after: float | None) -> float | None:
        """Counts a failure.

        Args:
            code: of the failure.
            retry_after: seconds that the server asks to wait, if it does.

        Returns:
            Seconds until the next attempt; None if there is to be none.
        """
        self.failures += 1
        if code not in RETRYABLE or self.failures >= self.config.max_attempts:
            return None
        delay = min(self.config.max_backoff, self.config.initial_backoff * 2.0 ** (self.failures - 1))
        delay *= 0.5 + 0.5 * self.jitter()
        return max(delay, min(retry_after, self.config.max_retry_after)) if retry_after else delay

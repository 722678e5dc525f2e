"""Why a request cannot be served: typed errors, free of gRPC.

`rpc/status.py` gives each of them its status code.
"""

from charloom.errors import CharloomError

RETRY_AFTER = 1.0
"""Seconds a refused client is told to wait: about what it takes some streams to finish."""


class ServingError(CharloomError):
    """Base of all errors of one request."""


class UnknownModelError(ServingError):
    """The request names a model that is not served."""

    def __init__(self, name: str, served: list[str]) -> None:
        super().__init__(f"no model {name[:63]!r} is served; there are {', '.join(served)}")


class OverloadedError(ServingError):
    """All slots and waiting places are taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"all {limit} places are taken; try again in {RETRY_AFTER:g} s")
        self.retry_after = RETRY_AFTER


class DrainingError(ServingError):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; try another one")
        self.retry_after = RETRY_AFTER


class DeadlineError(ServingError):
    """The request's deadline passed before it was done."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the text was complete")


class BurstError(ServingError):
    """The burst that the stream was part of failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"generation failed: {reason}")

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


class StalledError(ServingError):
    """The engine is stuck in a burst."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"no burst has ended for {patience:g} s; try another server")
        self.retry_after = RETRY_AFTER


class OtherBundleError(ServingError):
    """A text cannot go on here: it was begun with another bundle."""

    def __init__(self, begun: str, served: str) -> None:
        super().__init__(f"the text was begun with {begun}; served here is {served}")


class InexactError(ServingError):
    """A text that must be exact to the byte would not be so here."""

    def __init__(self, begun: str, here: str) -> None:
        super().__init__(
            f"the text was begun on {begun or 'another execution class'}, and would not be exact on {here}; "
            "leave out require_exact to go on all the same"
        )


class BurstError(ServingError):
    """The burst that the stream was part of failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"generation failed: {reason}")


class StateTokenError(ServingError):
    """Base of all errors of a state token that does not open."""


class AlteredStateError(StateTokenError):
    """A state token is not as it was given, or was given to another caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the state token {reason}")


class ExpiredStateError(StateTokenError):
    """A state token is too old."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the state token expired {seconds:.0f} s ago; begin again with the text itself")


class UnknownKeyError(StateTokenError):
    """A state token was sealed by a key that this server does not have."""

    def __init__(self) -> None:
        super().__init__(
            "the state token was sealed by a key that this server does not have, or has no more; begin "
            "again with the text itself (servers open each other's tokens if they share --state-keys)"
        )


class NewerStateError(StateTokenError):
    """A state token was sealed by a newer version of the server."""

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            f"the state token has format {version} and this server reads up to {newest}; send it to the "
            "server that gave it, or begin again with the text itself"
        )

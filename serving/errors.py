"""Why a request cannot be served: typed errors, free of gRPC.

`rpc/status.py` gives each of them its status code.
"""

from charloom.errors import CharloomError

RETRY_AFTER = 1.0
"""Seconds to wait for another server, or for a stream of one's own to end. Places have appointments."""


class ServingError(CharloomError):
    """Base of all errors of one request."""


class UnknownModelError(ServingError):
    """The request names a model that is not served."""

    def __init__(self, name: str, served: list[str]) -> None:
        super().__init__(f"no model {name[:63]!r} is served; there are {', '.join(served) or 'none'}")


class OverloadedError(ServingError):
    """All slots and waiting places are taken."""

    def __init__(self, limit: int, retry_after: float) -> None:
        super().__init__(f"all {limit} places are taken; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


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
    """The engine is stuck in a burst, or every burst fails."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"no burst has succeeded for {patience:g} s; try another server")
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


class DeadError(BurstError):
    """The engine has ended by a defect of its own."""

    def __init__(self) -> None:
        super().__init__("the engine has failed")


class LargeStateError(ServingError):
    """A state does not fit into a state token."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            f"the state token would have {size} bytes, more than {most}; ask for none: the text can go on "
            "from its tokens (replay)"
        )


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


class UnauthenticatedError(ServingError):
    """The call has no token, or one that is not known: which of the two is not told."""

    def __init__(self) -> None:
        super().__init__("this needs a valid token, sent as the metadata 'authorization: Bearer TOKEN'")


class ForbiddenModelError(ServingError):
    """The caller may not use the model, whether it is served or not."""

    def __init__(self, name: str) -> None:
        super().__init__(f"you may not use a model {name[:63]!r}")


class CallerOverloadedError(ServingError):
    """The caller has as many streams as they may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"you have all of the {limit} streams that you may have; try again in {RETRY_AFTER:g} s"
        )
        self.retry_after = RETRY_AFTER


class SlowReaderError(ServingError):
    """The client took nothing of its stream for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"slow reader: the client took nothing of the stream for {seconds:g} s")


class SilentOpenerError(ServingError):
    """The client of a conversation did not say for too long what it is about."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the conversation was not opened: no command came within {seconds:g} s")


class DefectError(ServingError):
    """The server itself is wrong somewhere. What exactly is told to nobody but its log."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed; its log says where, of request {request_id}")

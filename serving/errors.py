"""Errors of requests that cannot be served; `rpc/status.py` maps each to its gRPC status code."""

from charloom.errors import CharloomError

RETRY_AFTER = 1.0
"""Seconds after which a client may retry at another server, or when one of its own streams has ended."""


class ServingError(CharloomError):
    """Base of the errors of a request."""


class UnknownModelError(ServingError):
    """The request names a model that is not served."""

    def __init__(self, name: str, served: list[str]) -> None:
        super().__init__(f"no model {name[:63]!r} is served; there are {', '.join(served) or 'none'}")


class OverloadedError(ServingError):
    """There is no room for another stream or conversation."""

    def __init__(self, limit: int, retry_after: float) -> None:
        super().__init__(f"all {limit} places are taken; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class DrainingError(ServingError):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; try another one")
        self.retry_after = RETRY_AFTER


class DeadlineError(ServingError):
    """The request's deadline passed before the text was complete."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the text was complete")


class StalledError(ServingError):
    """The engine is stuck in a burst, or every burst fails."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"no burst has succeeded for {patience:g} s; try another server")
        self.retry_after = RETRY_AFTER


class OtherBundleError(ServingError):
    """A text cannot be resumed: it was begun with another bundle."""

    def __init__(self, begun: str, served: str) -> None:
        super().__init__(f"the text was begun with {begun}; served here is {served}")


class InexactError(ServingError):
    """A text cannot be resumed exactly, as the request requires: it was begun on another execution class."""

    def __init__(self, begun: str, here: str) -> None:
        super().__init__(
            f"the text was begun on {begun or 'another execution class'}, and would not be exact on {here}; "
            "leave out require_exact to go on all the same"
        )


class BurstError(ServingError):
    """The burst that the stream was part of failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"generation failed: {reason}")


class EngineDeadError(BurstError):
    """The engine was ended by a defect of its own."""

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
    """Base of the errors of a state token that cannot be opened."""


class AlteredStateError(StateTokenError):
    """A state token was altered, or belongs to another caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the state token {reason}")


class ExpiredStateError(StateTokenError):
    """A state token is too old."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the state token expired {seconds:.0f} s ago; begin again with the text itself")


class UnknownKeyError(StateTokenError):
    """A state token was sealed with a key that this server does not have."""

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
    """The call has no valid token; the message does not say whether it has none or an unknown one."""

    def __init__(self) -> None:
        super().__init__("this needs a valid token, sent as the metadata 'authorization: Bearer TOKEN'")


class ForbiddenModelError(ServingError):
    """The caller may not use the model; the message does not say whether it is served."""

    def __init__(self, name: str) -> None:
        super().__init__(f"you may not use a model {name[:63]!r}")


class CallerOverloadedError(ServingError):
    """The caller has as many streams as its limit allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"you have all of the {limit} streams that you may have; try again in {RETRY_AFTER:g} s"
        )
        self.retry_after = RETRY_AFTER


class SlowReaderError(ServingError):
    """The client has read nothing of its stream for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"slow reader: the client took nothing of the stream for {seconds:g} s")


class OpenTimeoutError(ServingError):
    """The client of a conversation did not send its first command in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the conversation was not opened: no command came within {seconds:g} s")


class DefectError(ServingError):
    """The server has a defect, which only its log describes."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed; its log says where, of request {request_id}")

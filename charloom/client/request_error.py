"""The error of a call to a server, made of what gRPC says of it.

It knows how servers say why they refuse, and neither calls nor when to try again.
"""

from collections.abc import Sequence
from typing import Self, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from charloom.errors import CharloomError
from charloom.options import Violation

DETAILS = "grpc-status-details-bin"


class RequestError(CharloomError):
    """The server refused a call or could not finish it.

    `code` is gRPC's status code, `violations` names the fields it complains of, and `retry_after`
    holds the seconds it asks to wait, if it does.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str | None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.exit_code = 2 if code == grpc.StatusCode.INVALID_ARGUMENT else 1
        self.violations = list(violations)
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: grpc.RpcError | grpc.aio.AioRpcError) -> Self:
        """The error of a call that failed, with gRPC's as its cause wherever it is raised."""
        call = cast(grpc.aio.AioRpcError, error)  # a synchronous call has the same methods
        violations: list[Violation] = []
        retry_after: float | None = None
        metadata = cast(Sequence[tuple[str, bytes]], call.trailing_metadata() or ())
        for detail in status_pb2.Status.FromString(dict(metadata).get(DETAILS, b"")).details:
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(bad):
                violations = [Violation(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        failure = cls(call.code(), call.details(), violations, retry_after)
        failure.__cause__ = error
        return failure


def hung(patience: float) -> RequestError:
    """The error of a server that says nothing."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, f"nothing was heard of the server for {patience:g} s")


def given_up() -> RequestError:
    """The error of a text that nobody wants any more."""
    return RequestError(grpc.StatusCode.CANCELLED, "the text was given up")


def ended_early() -> RequestError:
    """The error of a stream that ended without the end of its text."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the text")

"""The error of a call to a server, with the details of gRPC's rich error model."""

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

    Attributes:
        code: gRPC's status code.
        violations: the fields that the server refuses, with its reasons.
        retry_after: seconds that the server asks to wait before a retry; None if it does not.
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
        """The error of a failed call, with gRPC's as its cause."""
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


def timed_out(seconds: float) -> RequestError:
    """The error of a server that sent nothing for some seconds."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, f"the server sent nothing for {seconds:g} s")


def aborted() -> RequestError:
    """The error of a request that the client itself aborted."""
    return RequestError(grpc.StatusCode.CANCELLED, "the request was aborted")


def ended_early() -> RequestError:
    """The error of a stream that ended before its text."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the text")

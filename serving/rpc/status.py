"""Statuses: the gRPC status code, message and details of each error.

Details follow google.rpc's error model: BadRequest names fields, RetryInfo says how long to wait.
"""

from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError
from serving.errors import (
    AlteredStateError,
    BurstError,
    CallerOverloadedError,
    DeadlineError,
    DefectError,
    DrainingError,
    EngineDeadError,
    ExpiredStateError,
    ForbiddenModelError,
    InexactError,
    LargeStateError,
    NewerStateError,
    OpenTimeoutError,
    OtherBundleError,
    OverloadedError,
    SlowReaderError,
    StalledError,
    UnauthenticatedError,
    UnknownKeyError,
    UnknownModelError,
)
from serving.metrics import Metrics

CODES: dict[type[CharloomError], int] = {
    InvalidRequestError: code_pb2.INVALID_ARGUMENT,
    UnknownModelError: code_pb2.NOT_FOUND,
    OverloadedError: code_pb2.RESOURCE_EXHAUSTED,
    DrainingError: code_pb2.UNAVAILABLE,
    StalledError: code_pb2.UNAVAILABLE,
    DeadlineError: code_pb2.DEADLINE_EXCEEDED,
    OpenTimeoutError: code_pb2.DEADLINE_EXCEEDED,
    OtherBundleError: code_pb2.FAILED_PRECONDITION,
    InexactError: code_pb2.FAILED_PRECONDITION,
    LargeStateError: code_pb2.FAILED_PRECONDITION,
    BurstError: code_pb2.INTERNAL,
    EngineDeadError: code_pb2.INTERNAL,
    DefectError: code_pb2.INTERNAL,
    UnauthenticatedError: code_pb2.UNAUTHENTICATED,
    ForbiddenModelError: code_pb2.PERMISSION_DENIED,
    CallerOverloadedError: code_pb2.RESOURCE_EXHAUSTED,
    # The server is not overloaded, and the call may be repeated at once: with RESOURCE_EXHAUSTED clients
    # would wait.
    SlowReaderError: code_pb2.ABORTED,
    AlteredStateError: code_pb2.INVALID_ARGUMENT,
    ExpiredStateError: code_pb2.FAILED_PRECONDITION,
    UnknownKeyError: code_pb2.FAILED_PRECONDITION,
    NewerStateError: code_pb2.FAILED_PRECONDITION,
}
RETRYABLE = OverloadedError | CallerOverloadedError | DrainingError | StalledError
"""Errors that say after how long a client may retry."""

MAX_MESSAGE = 1000
"""Most bytes of a message: it may quote what a client sent, and a status longer than the limit for headers
would not arrive."""
MAX_VIOLATIONS = 2000
"""Most bytes of all violations together."""


def code_name(error: CharloomError) -> str:
    """Returns the status code as the label of a metric: invalid_argument and so on."""
    return str(code_pb2.Code.Name(CODES[type(error)])).lower()


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: CharloomError) -> NoReturn:
    """Ends a call with the status of an error."""
    status = rpc_status.to_status(to_proto(error))
    retry: tuple[tuple[str, str], ...] = ()
    if isinstance(error, RETRYABLE):
        # gRPC's own retry policy reads this; other clients read the RetryInfo.
        retry = (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)
    trailing = (*context.trailing_metadata(), *status.trailing_metadata, *retry)
    await context.abort(status.code, status.details, trailing)


async def reject(
    context: "grpc.aio.ServicerContext[Any, Any]", error: CharloomError, metrics: Metrics
) -> NoReturn:
    """Ends a call that was refused before its model was found, and counts it."""
    metrics.rejections.labels("", code_name(error)).inc()
    await abort(context, error)


def to_proto(error: CharloomError) -> status_pb2.Status:
    """Returns the error as google.rpc.Status."""
    status = status_pb2.Status(code=CODES[type(error)], message=shortened(str(error), MAX_MESSAGE))
    detail = details(error)
    if detail is not None:
        status.details.add().Pack(detail)
    return status


def details(error: CharloomError) -> Any:
    """Returns the google.rpc message that a client can act on; None if there is none."""
    if isinstance(error, InvalidRequestError):
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            reason = shortened(violation.reason, MAX_MESSAGE)
            bad.field_violations.add(field=violation.field, description=reason)
            if bad.ByteSize() > MAX_VIOLATIONS:
                del bad.field_violations[-1]
        return bad
    if isinstance(error, RETRYABLE):
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        return error_details_pb2.RetryInfo(retry_delay=delay)
    return None


def shortened(text: str, limit: int) -> str:
    """Cuts a text to at most `limit` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"

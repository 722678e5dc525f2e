"""What gRPC clients are told of an error: status code, message, and details they can act on.

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
    DeadError,
    DeadlineError,
    DefectError,
    DrainingError,
    ExpiredStateError,
    ForbiddenModelError,
    InexactError,
    LargeStateError,
    NewerStateError,
    OtherBundleError,
    OverloadedError,
    SilentOpenerError,
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
    SilentOpenerError: code_pb2.DEADLINE_EXCEEDED,
    OtherBundleError: code_pb2.FAILED_PRECONDITION,
    InexactError: code_pb2.FAILED_PRECONDITION,
    LargeStateError: code_pb2.FAILED_PRECONDITION,
    BurstError: code_pb2.INTERNAL,
    DeadError: code_pb2.INTERNAL,
    DefectError: code_pb2.INTERNAL,
    UnauthenticatedError: code_pb2.UNAUTHENTICATED,
    ForbiddenModelError: code_pb2.PERMISSION_DENIED,
    CallerOverloadedError: code_pb2.RESOURCE_EXHAUSTED,
    # The server is not short of anything, and the same call may be made again at once: whoever reads
    # RESOURCE_EXHAUSTED would wait.
    SlowReaderError: code_pb2.ABORTED,
    AlteredStateError: code_pb2.INVALID_ARGUMENT,
    ExpiredStateError: code_pb2.FAILED_PRECONDITION,
    UnknownKeyError: code_pb2.FAILED_PRECONDITION,
    NewerStateError: code_pb2.FAILED_PRECONDITION,
}
RETRIED = OverloadedError | CallerOverloadedError | DrainingError | StalledError
"""Errors that say how long to wait."""

MOST_MESSAGE = 1000
"""Bytes of a message: it may echo what a client sent, and a status that is longer than a header may be is
lost on its way."""
MOST_VIOLATIONS = 2000
"""Bytes of all violations together."""


def code_name(error: CharloomError) -> str:
    """The status code as a metric's label: invalid_argument and so on."""
    return str(code_pb2.Code.Name(CODES[type(error)])).lower()


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: CharloomError) -> NoReturn:
    """Ends a call with the status of an error."""
    status = rpc_status.to_status(to_proto(error))
    retry: tuple[tuple[str, str], ...] = ()
    if isinstance(error, RETRIED):
        # gRPC's own retry policy reads this; other clients read the RetryInfo.
        retry = (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)
    trailing = (*context.trailing_metadata(), *status.trailing_metadata, *retry)
    await context.abort(status.code, status.details, trailing)


async def reject(
    context: "grpc.aio.ServicerContext[Any, Any]", error: CharloomError, metrics: Metrics
) -> NoReturn:
    """Ends a call that was never served, and counts it."""
    metrics.rejections.labels("", code_name(error)).inc()
    await abort(context, error)


def to_proto(error: CharloomError) -> status_pb2.Status:
    """The error as google.rpc.Status."""
    status = status_pb2.Status(code=CODES[type(error)], message=shortened(str(error), MOST_MESSAGE))
    detail = details(error)
    if detail is not None:
        status.details.add().Pack(detail)
    return status


def details(error: CharloomError) -> Any:
    """The google.rpc message that a client can act on; None if there is none."""
    if isinstance(error, InvalidRequestError):
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            reason = shortened(violation.reason, MOST_MESSAGE)
            bad.field_violations.add(field=violation.field, description=reason)
            if bad.ByteSize() > MOST_VIOLATIONS:
                del bad.field_violations[-1]
        return bad
    if isinstance(error, RETRIED):
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        return error_details_pb2.RetryInfo(retry_delay=delay)
    return None


def shortened(text: str, most: int) -> str:
    """A text of at most so many bytes."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"

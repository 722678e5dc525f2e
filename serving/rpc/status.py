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
    DeadlineError,
    DrainingError,
    ExpiredStateError,
    InexactError,
    NewerStateError,
    OtherBundleError,
    OverloadedError,
    StalledError,
    UnknownKeyError,
    UnknownModelError,
)

CODES: dict[type[CharloomError], int] = {
    InvalidRequestError: code_pb2.INVALID_ARGUMENT,
    UnknownModelError: code_pb2.NOT_FOUND,
    OverloadedError: code_pb2.RESOURCE_EXHAUSTED,
    DrainingError: code_pb2.UNAVAILABLE,
    StalledError: code_pb2.UNAVAILABLE,
    DeadlineError: code_pb2.DEADLINE_EXCEEDED,
    OtherBundleError: code_pb2.FAILED_PRECONDITION,
    InexactError: code_pb2.FAILED_PRECONDITION,
    BurstError: code_pb2.INTERNAL,
    AlteredStateError: code_pb2.INVALID_ARGUMENT,
    ExpiredStateError: code_pb2.FAILED_PRECONDITION,
    UnknownKeyError: code_pb2.FAILED_PRECONDITION,
    NewerStateError: code_pb2.FAILED_PRECONDITION,
}


def code_name(error: CharloomError) -> str:
    """The status code as a metric's label: invalid_argument and so on."""
    return str(code_pb2.Code.Name(CODES[type(error)])).lower()


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: CharloomError) -> NoReturn:
    """Ends a call with the status of an error."""
    status = rpc_status.to_status(to_proto(error))
    retry: tuple[tuple[str, str], ...] = ()
    if isinstance(error, OverloadedError | DrainingError | StalledError):
        # gRPC's own retry policy reads this; other clients read the RetryInfo.
        retry = (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)
    await context.abort(status.code, status.details, (*status.trailing_metadata, *retry))


def to_proto(error: CharloomError) -> status_pb2.Status:
    """The error as google.rpc.Status."""
    status = status_pb2.Status(code=CODES[type(error)], message=str(error))
    detail = details(error)
    if detail is not None:
        status.details.add().Pack(detail)
    return status


def details(error: CharloomError) -> Any:
    """The google.rpc message that a client can act on; None if there is none."""
    match error:
        case InvalidRequestError(violations=violations):
            return error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.reason)
                    for v in violations
                ]
            )
        case (
            OverloadedError(retry_after=seconds)
            | DrainingError(retry_after=seconds)
            | StalledError(retry_after=seconds)
        ):
            delay = Duration()
            delay.FromMilliseconds(round(seconds * 1000))
            return error_details_pb2.RetryInfo(retry_delay=delay)
    return None

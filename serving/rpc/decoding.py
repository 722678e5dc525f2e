"""Requests whose bytes are no message: refused as any other that cannot be used.

By itself gRPC takes such bytes for a defect of the server: it answers UNKNOWN and writes a traceback
to the log. This knows handlers, and nothing of what they do.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
import grpc.aio

from charloom.options import InvalidRequestError, Violation
from serving.metrics import Metrics
from serving.rpc.status import reject

Behavior = Callable[[Any, Any], Any]
UNDECODABLE = object()
"""Stands for a request that is none."""


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Has undecodable requests refused with INVALID_ARGUMENT, and counted."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, if there is one, with its requests looked at."""
        handler = await continuation(handler_call_details)
        return None if handler is None else looking(handler, self.refuse)

    async def refuse(self, context: Any, error: InvalidRequestError) -> NoReturn:
        """Ends a call that has no message."""
        await reject(context, error, self.metrics)


Refuse = Callable[[Any, InvalidRequestError], Awaitable[NoReturn]]


def looking(handler: Any, refuse: Refuse) -> Any:
    """A handler that looks at its requests before it handles them."""
    kind = kind_of(handler)
    behave = streamed if handler.request_streaming else single
    return handler._replace(
        request_deserializer=tolerant(handler.request_deserializer),
        **{kind: behave(getattr(handler, kind), refuse)},
    )


def kind_of(handler: Any) -> str:
    """The name of what answers a handler's calls, which says which sides send a stream."""
    arrivals, answers = (
        "stream" if streaming else "unary"
        for streaming in (handler.request_streaming, handler.response_streaming)
    )
    return f"{arrivals}_{answers}"


def tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that gives UNDECODABLE where this one would raise an error."""

    def attempt(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:  # protobuf's DecodeError and whatever else: the bytes are the client's
            return UNDECODABLE

    return attempt


def single(behave: Behavior, refuse: Refuse) -> Behavior:
    """The behavior of a method that takes one request."""

    async def respond(request: Any, context: Any) -> Any:
        if request is UNDECODABLE:
            await refuse(context, no_message())
        return await behave(request, context)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        if request is UNDECODABLE:
            await refuse(context, no_message())
        async with aclosing(behave(request, context)) as responses:
            async for response in responses:
                yield response

    return stream if inspect.isasyncgenfunction(behave) else respond


def streamed(behave: Behavior, refuse: Refuse) -> Behavior:
    """The behavior of a method that takes a stream of requests and gives one of responses."""

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async with aclosing(behave(decoded(requests), context)) as responses:
                async for response in responses:
                    yield response
        except InvalidRequestError as error:
            await refuse(context, error)

    return stream


async def decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests of a stream; raises InvalidRequestError at one that is none."""
    async for request in requests:
        if request is UNDECODABLE:
            raise no_message()
        yield request


def no_message() -> InvalidRequestError:
    """The error of a request whose bytes are no message."""
    return InvalidRequestError(
        [Violation("request", "is no message of this method: its bytes cannot be decoded")]
    )

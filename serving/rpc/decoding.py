"""Decoding: refuses requests whose bytes are no message with INVALID_ARGUMENT.

gRPC itself takes such bytes for a defect of the server: it answers UNKNOWN and logs a traceback.
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
"""Stands for a request that could not be decoded."""


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Refuses undecodable requests, and counts them."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the handler of a call, if there is one, with its requests checked."""
        handler = await continuation(handler_call_details)
        return None if handler is None else checking(handler, self.refuse)

    async def refuse(self, context: Any, error: InvalidRequestError) -> NoReturn:
        """Ends a call whose request is no message."""
        await reject(context, error, self.metrics)


Refuse = Callable[[Any, InvalidRequestError], Awaitable[NoReturn]]


def checking(handler: Any, refuse: Refuse) -> Any:
    """Returns a handler that checks its requests before it handles them."""
    kind = kind_of(handler)
    behave = streamed if handler.request_streaming else single
    return handler._replace(
        request_deserializer=tolerant(handler.request_deserializer),
        **{kind: behave(getattr(handler, kind), refuse)},
    )


def kind_of(handler: Any) -> str:
    """Returns the attribute of a handler that holds its behavior: unary_stream and so on."""
    requests, responses = (
        "stream" if streaming else "unary"
        for streaming in (handler.request_streaming, handler.response_streaming)
    )
    return f"{requests}_{responses}"


def tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Returns a deserializer that returns UNDECODABLE where this one would raise."""

    def attempt(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:  # protobuf's DecodeError and whatever else: the bytes are the client's
            return UNDECODABLE

    return attempt


def single(behave: Behavior, refuse: Refuse) -> Behavior:
    """Returns the behavior of a method that takes one request, which is checked."""

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
    """Returns the behavior of a method that takes a stream of requests, which are checked."""

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async with aclosing(behave(decoded(requests), context)) as responses:
                async for response in responses:
                    yield response
        except InvalidRequestError as error:
            await refuse(context, error)

    return stream


async def decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yields the requests of a stream; raises InvalidRequestError at one that could not be decoded."""
    async for request in requests:
        if request is UNDECODABLE:
            raise no_message()
        yield request


def no_message() -> InvalidRequestError:
    """Makes the error of a request whose bytes are no message."""
    return InvalidRequestError(
        [Violation("request", "is no message of this method: its bytes cannot be decoded")]
    )

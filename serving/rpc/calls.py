"""Calls: authenticates each call, gives it an id, limits its streams, watches its reader, and logs its end.

An interceptor before the servicer. It logs nothing that a client sent, but for a request id of a harmless
form.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from serving.errors import DefectError, SlowReaderError, UnauthenticatedError
from serving.logs import FIELDS, describe
from serving.metrics import Metrics
from serving.rpc.convert import text_count
from serving.rpc.decoding import kind_of
from serving.rpc.security.callers import ANYBODY, Caller, Callers, Places
from serving.rpc.series import parallel_texts
from serving.rpc.slow_reader import Watch
from serving.rpc.status import abort, code_name, reject

OURS = f"/{pb.DESCRIPTOR.services_by_name['CharloomService'].full_name}/"
HEALTH = f"/{health_pb2.DESCRIPTOR.services_by_name['Health'].full_name}/"
"""The service that needs no token: probes and load balancers have none."""
REQUEST_ID = "x-request-id"
SAFE_ID = re.compile(r"[!-~]{1,64}")
"""Printable and without spaces, so that it cannot be mistaken for another part of its log line."""

Context = grpc.aio.ServicerContext[Any, Any]

logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One call: who made it, and how it ended. The servicer sets the model and counts the tokens."""

    method: str = ""
    id: str = ""
    caller: Caller = ANYBODY
    model: str = ""
    """Name of the model that answers."""
    tokens: int = 0
    """Tokens that were handed out."""
    answered: bool = False
    """Whether any response was sent."""
    outcome: str = ""
    """How it ended: ok, cancelled (by the client), or the name of a status code; empty until then."""
    started: float = field(default_factory=time.perf_counter)

    def log(self) -> None:
        """Logs how it ended."""
        seconds = round(time.perf_counter() - self.started, 6)
        who = f" for {self.caller.name}" if self.caller.name else ""
        what = f" {self.model}" if self.model else ""
        tokens = f", {self.tokens} tokens" if self.tokens else ""
        logger.info(
            f"{self.method}{what}{who}: {self.outcome}{tokens}, {seconds:.3g} s (request {self.id})",
            extra={
                FIELDS: {
                    "request_id": self.id,
                    "caller": self.caller.name,
                    "method": self.method,
                    "model": self.model,
                    "outcome": self.outcome,
                    "tokens": self.tokens,
                    "seconds": seconds,
                }
            },
        )


_current: ContextVar[Call] = ContextVar("call")


def current_call() -> Call:
    """Returns the call that is answered in this task."""
    return _current.get(None) or Call()


class Calls(grpc.aio.ServerInterceptor):
    """Intercepts every call."""

    def __init__(self, callers: Callers, metrics: Metrics, reader_timeout: float) -> None:
        self.callers = callers
        self.metrics = metrics
        self.reader_timeout = reader_timeout
        self.places = Places()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the handler of a call: the servicer's, wrapped, or one that refuses it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH):
            return handler
        metadata = dict(handler_call_details.invocation_metadata)
        call = Call(method.rpartition("/")[2], to_id(metadata.get(REQUEST_ID)))
        try:
            call.caller = self.callers.find(metadata.get("authorization"))
        except UnauthenticatedError as error:
            return self._refusal(call, error)
        return self._watched(call, handler) if method.startswith(OURS) else handler

    def _refusal(self, call: Call, error: CharloomError) -> Any:
        """Returns a handler that answers with an error."""

        async def refuse(_: Any, context: Context) -> None:
            with disconnects_as_cancelled():
                async with self._opened(call, context):
                    await reject(context, error, self.metrics)

        # For a method of this kind gRPC does not wait for a message first, which may never come.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _watched(self, call: Call, handler: Any) -> Any:
        """Returns a handler that answers as this one does, its streams counted among its caller's."""
        kind = kind_of(handler)
        answer = getattr(handler, kind)

        async def respond(request: Any, context: Context) -> Any:
            with disconnects_as_cancelled():
                try:
                    async with self._opened(call, context):
                        with self.places.hold(
                            call.caller, *streams_of(request, streaming=handler.response_streaming)
                        ):
                            if handler.response_streaming:
                                return await self._write(call, answer(request, context), context)
                            response = await answer(request, context)
                        await context.send_initial_metadata(((REQUEST_ID, call.id),))
                        return response
                except SlowReaderError as error:
                    if isinstance(request, Message):
                        request.Clear()  # it would be kept until the client reads on, and gets this error
                    await abort(context, error)
                except CharloomError as error:
                    await reject(context, error, self.metrics)

        return handler._replace(**{kind: respond})

    async def _write(self, call: Call, responses: AsyncGenerator[Any, None], context: Context) -> None:
        """Writes responses; raises SlowReaderError, and ends their source, if the client reads none."""
        async with aclosing(responses):
            with Watch(self.reader_timeout) as watch:
                try:
                    async for response in responses:
                        if not call.answered:
                            # Not before there is a response: gRPC clients retry by themselves only a call
                            # that was refused before anything was sent.
                            call.answered = True
                            await watch.over(context.send_initial_metadata(((REQUEST_ID, call.id),)))
                        await watch.over(context.write(response))
                except SlowReaderError as error:
                    call.outcome = code_name(error)
                    raise

    @asynccontextmanager
    async def _opened(self, call: Call, context: Context) -> AsyncIterator[None]:
        """Sets the current call while it is answered, and logs how it ended."""
        _current.set(call)  # a call has a task of its own
        context.set_trailing_metadata(((REQUEST_ID, call.id),))
        try:
            yield
            call.outcome = "ok"
        except CharloomError as error:
            call.outcome = code_name(error)
            raise
        except grpc.aio.AbortError:
            call.outcome = context.code().name.lower()
            raise
        except (asyncio.CancelledError, grpc.aio.BaseError):
            call.outcome = "cancelled"
            raise
        except Exception as error:
            # gRPC would log the error's message, and send it to the client; it may quote a request.
            failure = DefectError(call.id)
            call.outcome = code_name(failure)
            logger.error("request %s: %s", call.id, describe(error))  # noqa: TRY400
            await abort(context, failure)
        finally:
            call.log()


def streams_of(request: Any, *, streaming: bool) -> tuple[int, str]:
    """Returns how many streams a request takes at the same time, and the field that says so."""
    match request:
        case pb.GenerateRequest():
            return text_count(request), "n"
        case pb.GenerateSeriesRequest():
            return parallel_texts(request), "parallel"
        case pb.ScoreRequest() | pb.EmbedRequest():
            return len(request.texts), "texts"
    return int(streaming), "n"


@contextmanager
def disconnects_as_cancelled() -> Iterator[None]:
    """Cancels the call if a write fails because the client disconnected; gRPC would log a traceback."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError as error:
        raise asyncio.CancelledError from error


def to_id(sent: str | bytes | None) -> str:
    """Returns the id that a client sent with its call, if it is safe to log; else a new one."""
    safe = isinstance(sent, str) and SAFE_ID.fullmatch(sent)
    return str(sent) if safe else secrets.token_hex(8)

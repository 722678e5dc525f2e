"""Calls: each is let in, given an id, watched while it is answered, and logged once it is over.

It stands before the servicer and knows of a call what any call has; what is asked in it is the
servicer's. It logs nothing that a client wrote, but for a request id of a harmless form.
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
from serving.rpc.slow_reader import Watch
from serving.rpc.status import abort, code_name, reject

OURS = f"/{pb.DESCRIPTOR.services_by_name['CharloomService'].full_name}/"
HEALTH = f"/{health_pb2.DESCRIPTOR.services_by_name['Health'].full_name}/"
"""What needs no token: whoever restarts or routes around a server asks it."""
REQUEST_ID = "x-request-id"
SANE_ID = re.compile(r"[!-~]{1,64}")
"""Printable, and one word, so that it cannot be taken for another part of its line."""

Context = grpc.aio.ServicerContext[Any, Any]

logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One call: who makes it, and what became of it. The servicer fills in what only it knows."""

    method: str = ""
    id: str = ""
    caller: Caller = ANYBODY
    model: str = ""
    """Name of the model that answers."""
    tokens: int = 0
    """Tokens that were handed out."""
    answered: bool = False
    """Whether its client has got anything."""
    outcome: str = ""
    """How it ended: ok, cancelled by the client, or the name of a status code; empty until then."""
    started: float = field(default_factory=time.perf_counter)

    def log(self) -> None:
        """Says how it ended."""
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
    """The call that is answered in this task."""
    return _current.get(None) or Call()


class Calls(grpc.aio.ServerInterceptor):
    """Lets calls in, and keeps an eye on them."""

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
        """Finds who answers a call: the servicer, watched, or a refusal."""
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
        """A handler that answers with an error."""

        async def refuse(_: Any, context: Context) -> None:
            with client_may_go():
                async with self._opened(call, context):
                    await reject(context, error, self.metrics)

        # For a method of this kind gRPC awaits no message first, which may never come.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _watched(self, call: Call, handler: Any) -> Any:
        """A handler that answers as this one does, its streams counted among its caller's."""
        kind = kind_of(handler)
        answer = getattr(handler, kind)

        async def respond(request: Any, context: Context) -> Any:
            with client_may_go():
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
                        request.Clear()  # it would be kept until the client reads on, and hears of this
                    await abort(context, error)
                except CharloomError as error:
                    await reject(context, error, self.metrics)

        return handler._replace(**{kind: respond})

    async def _write(self, call: Call, responses: AsyncGenerator[Any, None], context: Context) -> None:
        """Writes responses; raises SlowReaderError if nobody takes them, and ends whoever makes them."""
        async with aclosing(responses):
            with Watch(self.reader_timeout) as watch:
                try:
                    async for response in responses:
                        if not call.answered:
                            # Not before there is an answer: a client repeats by itself only a call
                            # that was refused before it got anything.
                            call.answered = True
                            await watch.over(context.send_initial_metadata(((REQUEST_ID, call.id),)))
                        await watch.over(context.write(response))
                except SlowReaderError as error:
                    call.outcome = code_name(error)
                    raise

    @asynccontextmanager
    async def _opened(self, call: Call, context: Context) -> AsyncIterator[None]:
        """Makes a call known while it is answered, and logs how it ended."""
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
            # gRPC would log the error's words, and send them to the client; they may quote a request.
            failure = DefectError(call.id)
            call.outcome = code_name(failure)
            logger.error("request %s: %s", call.id, describe(error))  # noqa: TRY400
            await abort(context, failure)
        finally:
            call.log()


def streams_of(request: Any, *, streaming: bool) -> tuple[int, str]:
    """How many streams a request takes at the same time, and the field that says so."""
    match request:
        case pb.GenerateRequest():
            return text_count(request), "n"
        case pb.ScoreRequest() | pb.EmbedRequest():
            return len(request.texts), "texts"
    return int(streaming), "n"


@contextmanager
def client_may_go() -> Iterator[None]:
    """Takes a write that fails for what it is, a client that has gone; gRPC would log a traceback."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError as error:
        raise asyncio.CancelledError from error


def to_id(given: str | bytes | None) -> str:
    """The id that a client gave its call, if it is sane; else a new one."""
    sane = isinstance(given, str) and SANE_ID.fullmatch(given)
    return str(given) if sane else secrets.token_hex(8)

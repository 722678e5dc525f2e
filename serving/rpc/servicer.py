"""The gRPC service: one coroutine a call, from proto request to proto responses.

It sees when a call's text came and how the call ended, which is what the metrics count; what
happens inside a burst is the engine's.
"""

import time
from collections.abc import AsyncIterator, Mapping

import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.v1.charloom_pb2_grpc import CharloomServiceServicer
from serving.engine.async_engine import AsyncEngine, Reader
from serving.engine.request import Request
from serving.errors import DrainingError
from serving.metrics import Metrics
from serving.models import Model, Models
from serving.rpc import convert
from serving.rpc.status import abort, code_name

GenerateContext = grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]


class Servicer(CharloomServiceServicer):
    """Answers calls for a set of models, each with its engine."""

    def __init__(
        self,
        models: Models,
        engines: Mapping[str, AsyncEngine],
        limits: convert.RequestLimits,
        metrics: Metrics,
    ) -> None:
        self.models = models
        self.engines = engines
        self.limits = limits
        self.metrics = metrics
        self.draining = False
        """Set when the server shuts down: new requests are refused."""
        self.active = 0
        """Texts that are being generated."""

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: GenerateContext
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates one text, or several from one prompt."""
        try:
            model, asked, reader = self._open(request, context)
        except CharloomError as error:
            await abort(context, error)
        index = {stream: i for i, stream in enumerate(reader.streams)}
        clocks = {stream: TokenClock(self.metrics, model.name) for stream in reader.streams}
        outcome = "cancelled"
        self.active += 1
        try:
            yield convert.to_start(model, asked)
            while clocks:
                for update in await reader.next():
                    if update.error is not None:
                        outcome = code_name(update.error)
                        await abort(context, update.error)
                    stream = update.stream
                    clocks[stream].observe(len(update.choices))
                    yield convert.to_response(request, index[stream], update, model.bundle.vocabulary)
                    if update.finish is not None:
                        del clocks[stream]
            outcome = "ok"
        finally:
            # Reached however the call ends: a client that goes away cancels this coroutine.
            reader.close()
            self.active -= 1
            self.metrics.requests.labels(model.name, outcome).inc()

    def _open(self, message: pb.GenerateRequest, context: GenerateContext) -> tuple[Model, Request, Reader]:
        """Lets a request in; raises CharloomError, and counts it, where it cannot be served."""
        name = ""
        try:
            if self.draining:
                raise DrainingError
            model = self.models.find(message.model)
            name = model.name
            asked = convert.to_request(message, model.bundle.vocabulary, self.limits)
            remaining = context.time_remaining()
            deadline = None if remaining is None else time.monotonic() + remaining
            return model, asked, self.engines[name].open(asked, deadline, convert.text_count(message))
        except CharloomError as error:
            self.metrics.rejections.labels(name, code_name(error)).inc()
            raise

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Lists what is served."""
        return pb.ListModelsResponse(models=map(convert.to_model, self.models))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse],
    ) -> pb.GetModelResponse:
        """Describes one model."""
        try:
            return pb.GetModelResponse(model=convert.to_model(self.models.find(request.name)))
        except CharloomError as error:
            await abort(context, error)


class TokenClock:
    """Measures when one text came."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._first = metrics.first_token.labels(model)
        self._between = metrics.between_tokens.labels(model)
        self._started = time.perf_counter()
        self._last: float | None = None

    def observe(self, tokens: int) -> None:
        """Takes note of a response with so many tokens."""
        if tokens == 0:
            return
        now = time.perf_counter()
        if self._last is None:
            self._first.observe(now - self._started)
        else:
            self._between.observe((now - self._last) / tokens)
        self._last = now

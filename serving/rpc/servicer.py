"""The gRPC service: one coroutine a call, from proto request to proto responses.

It sees when a call's text came and how the call ended, which is what the metrics count; what
happens inside a burst is the engine's.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from charloom.v1.charloom_pb2_grpc import CharloomServiceServicer
from serving.engine.async_engine import AsyncEngine, Reader
from serving.engine.embedding import embedding
from serving.engine.request import Update
from serving.errors import DrainingError, OverloadedError
from serving.metrics import Metrics
from serving.models import Model, Models
from serving.rpc import convert, state_token, texts
from serving.rpc.continuation import Opening
from serving.rpc.conversation import Conversation, ConversationLimits, Place
from serving.rpc.convert import Text
from serving.rpc.sealing import Sealer
from serving.rpc.status import abort, code_name

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Job:
    """What a call comes to."""

    model: Model
    submit: Callable[[AsyncEngine, float | None], Reader]
    """Lets it into the model's engine, with its deadline."""
    text: Text | None = None
    """What is generated."""


class Call:
    """A call that was let in."""

    def __init__(self, job: Job, reader: Reader) -> None:
        self.model = job.model
        self.text = job.text
        self.reader = reader
        self.index = {stream: i for i, stream in enumerate(reader.streams)}

    async def updates(self) -> AsyncIterator[Update | None]:
        """All updates until every stream has ended; None where its reader was poked.

        Raises:
            ServingError: a stream failed; what it had to say came before.
        """
        left = set(self.reader.streams)
        while left:
            news = await self.reader.next()
            if not news:
                yield None
            for update in news:
                if update.error is None or update.text or update.snapshot is not None:
                    yield update
                if update.error is not None:
                    raise update.error
                if update.final:
                    left.discard(update.stream)


class Servicer(CharloomServiceServicer):
    """Answers calls for a set of models, each with its engine."""

    def __init__(
        self,
        models: Models,
        engines: Mapping[str, AsyncEngine],
        limits: convert.RequestLimits,
        metrics: Metrics,
        sealer: Sealer,
        bounds: ConversationLimits,
    ) -> None:
        self.models = models
        self.engines = engines
        self.limits = limits
        self.metrics = metrics
        self.sealer = sealer
        self.bounds = bounds
        self.conversations: set[Conversation] = set()
        self.opening = Opening(models, limits, sealer)
        self.draining = False
        """Set when the server shuts down: new requests are refused."""
        self.calls: set[Call] = set()
        """Those under way."""

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates one text, or several from one prompt."""

        def begin() -> Job:
            text, asked = self.opening.open(request)
            n = convert.text_count(text.asked)
            return Job(text.model, lambda engine, deadline: engine.open(asked, deadline, n), text)

        async with self._call(request.model, context, begin) as call:
            assert call.text is not None, "a text is generated"
            clocks = {stream: TokenClock(self.metrics, call.model.name) for stream in call.index}
            yield convert.to_start(call.text, call.reader.streams[0].request)
            async for update in call.updates():
                if update is not None:
                    clocks[update.stream].observe(len(update.choices))
                yield self._respond(call, call.text, update)

    def _respond(self, call: Call, text: Text, update: Update | None) -> pb.GenerateResponse:
        """What a client is told of news, or of there being none."""
        if update is None:
            return pb.GenerateResponse()
        vocabulary = call.model.bundle.vocabulary
        response = convert.to_response(text.asked, call.index[update.stream], update, vocabulary)
        if update.snapshot is not None:
            token = self.sealer.seal(state_token.save(text, update.stream.request, update.snapshot))
            response.state.CopyFrom(pb.State(token=token, position=update.snapshot.position))
        return response

    async def Converse(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ConverseRequest], context: Context
    ) -> AsyncIterator[pb.ConverseResponse]:
        """Holds one stream, and its forks, command by command."""
        try:
            conversation = await self._open_conversation(request_iterator)
        except CharloomError as error:
            await abort(context, error)
        self.conversations.add(conversation)
        try:
            async for event in conversation.run(request_iterator):
                yield event
        except CharloomError as error:
            await abort(context, error)
        finally:
            self.conversations.discard(conversation)

    async def _open_conversation(self, commands: AsyncIterator[pb.ConverseRequest]) -> Conversation:
        """The conversation that a first command opens; raises CharloomError if it can't be held."""
        first = await anext(aiter(commands), pb.ConverseRequest())
        if self.draining:
            raise DrainingError
        if not first.HasField("open"):
            raise InvalidRequestError([Violation("open", "must be the first command")])
        if len(self.conversations) >= self.bounds.most_conversations:
            raise OverloadedError(self.bounds.most_conversations)
        text, origin = self.opening.converse(first.open)
        engine = self.engines[text.model.name]
        return Conversation(Place(text, engine, self.limits, self.bounds, self.sealer), origin)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.calls and not self.conversations

    def beat(self, silence: float) -> None:
        """Has every call that has had no news for so many seconds tell its client that it is alive."""
        for call in self.calls:
            call.reader.poke(silence)

    def drain(self) -> None:
        """Takes no more requests, and lets conversations end."""
        self.draining = True
        for conversation in self.conversations:
            conversation.hang_up()

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: Context
    ) -> AsyncIterator[pb.ScoreResponse]:
        """Gives the log-probability of each token of texts."""

        def begin() -> Job:
            model = self.models.find(request.model)
            requests = texts.to_scored(request, model.bundle.vocabulary, self.limits)
            return Job(model, lambda engine, deadline: engine.open_all(requests, deadline))

        async with self._call(request.model, context, begin) as call:
            async for update in call.updates():
                yield convert.to_score(call.index[update.stream], update) if update else pb.ScoreResponse()

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Gives a vector for each text."""

        def begin() -> Job:
            model = self.models.find(request.model)
            requests = texts.to_read(request, model.bundle.vocabulary, self.limits)
            return Job(model, lambda engine, deadline: engine.open_all(requests, deadline))

        vectors = [pb.Embedding() for _ in request.texts]
        async with self._call(request.model, context, begin) as call:
            async for update in call.updates():
                if update is not None and update.snapshot is not None:
                    vectors[call.index[update.stream]].values.extend(embedding(update.snapshot).tolist())
        return pb.EmbedResponse(embeddings=vectors)

    @asynccontextmanager
    async def _call(self, name: str, context: Context, begin: Callable[[], Job]) -> AsyncIterator[Call]:
        """A call while it is under way; however it ends, its streams are given up and it is counted."""
        try:
            call = self._open(name, context, begin)
        except CharloomError as error:
            await abort(context, error)
        outcome = "cancelled"  # a client that goes away cancels the coroutine
        self.calls.add(call)
        try:
            yield call
            outcome = "ok"
        except CharloomError as error:
            outcome = code_name(error)
            await abort(context, error)
        finally:
            call.reader.close()
            self.calls.discard(call)
            self.metrics.requests.labels(call.model.name, outcome).inc()

    def _open(self, name: str, context: Context, begin: Callable[[], Job]) -> Call:
        """Lets a call in; raises CharloomError, and counts it, where it cannot be served."""
        try:
            if self.draining:
                raise DrainingError
            job = begin()
            name = job.model.name
            remaining = context.time_remaining()
            deadline = None if remaining is None else time.monotonic() + remaining
            return Call(job, job.submit(self.engines[name], deadline))
        except CharloomError as error:
            known = name if name in self.engines else ""
            self.metrics.rejections.labels(known, code_name(error)).inc()
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

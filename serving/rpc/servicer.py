"""The gRPC service: one coroutine a call, from proto request to proto responses."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.burst import StateSpec
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from charloom.v1.charloom_pb2_grpc import CharloomServiceServicer
from serving.engine.async_engine import AsyncEngine, UpdateReader
from serving.engine.embedding import embedding, embedding_specs
from serving.engine.request import Request
from serving.engine.retry_after import RetryAfter
from serving.engine.snapshot import Snapshot
from serving.engine.text_scorer import TextScorer
from serving.engine.text_series import TextSeries
from serving.engine.update import Update
from serving.errors import DefectError, DrainingError, OpenTimeoutError, OverloadedError
from serving.metrics import Metrics
from serving.models import Models
from serving.rpc import convert, state_token, texts
from serving.rpc.branch import ConversationContext
from serving.rpc.call_streams import CallStreams, Submission
from serving.rpc.calls import current_call
from serving.rpc.conversation import ConversationCall
from serving.rpc.convert import Text
from serving.rpc.encoding import EncodingThread
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.resolver import Resolver
from serving.rpc.security.sealing import Sealer
from serving.rpc.series import SeriesParts, to_selection
from serving.rpc.status import abort, code_name, reject

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(CharloomServiceServicer):
    """Answers calls for a set of models."""

    def __init__(
        self,
        models: Models,
        limits: RequestLimits,
        metrics: Metrics,
        sealer: Sealer,
        conversation_limits: ConversationLimits,
    ) -> None:
        self.models = models
        self.limits = limits
        self.metrics = metrics
        self.sealer = sealer
        self.conversation_limits = conversation_limits
        self.resolver = Resolver(models, limits, sealer)
        self.encoding = EncodingThread()
        self.retry_after = RetryAfter()
        """For clients refused because there are too many conversations."""
        self.draining = False
        """Set when the server shuts down: new requests are refused."""
        self.running: set[CallStreams] = set()
        """The streams of all calls but conversations."""
        self.conversations: set[ConversationCall] = set()
        self.opening = 0
        """Conversations whose first command has not come yet."""

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates one text, or several from one prompt."""
        caller = current_call().caller.identity

        def prepare() -> Submission:
            text, resolved = self._resolver().resolve(request, caller)
            n = convert.text_count(text.message)
            return Submission(
                text.model, lambda engine, deadline: engine.submit_texts(resolved, deadline, n), text
            )

        async with self._streams(request.model, len(request.prompt), context, prepare) as streams:
            assert streams.text is not None, "a text is generated"
            timers = {stream: streams.model.metrics.token_timer() for stream in streams.index}
            first = streams.reader.streams[0].request
            yield pb.GenerateResponse(start=convert.to_start(streams.text, first.seed, first.notes))
            async for update in streams.updates():
                if update is not None:
                    timers[update.stream].observe(len(update.sampled))
                    current_call().tokens += len(update.sampled)
                yield self._to_response(streams, streams.text, update, caller)

    async def GenerateSeries(  # noqa: N802
        self, request: pb.GenerateSeriesRequest, context: Context
    ) -> AsyncIterator[pb.GenerateSeriesResponse]:
        """Generates many texts from one prompt, some at a time."""
        caller = current_call().caller.identity

        def prepare() -> Submission:
            selection = to_selection(request, self.limits)
            text, resolved = self._resolver().resolve(request.generate, caller)

            def submit(engine: AsyncEngine, deadline: float | None) -> UpdateReader:
                series = TextSeries(
                    resolved,
                    selection.indexes,
                    selection.count,
                    selection.parallel,
                    text.model.bundle.vocabulary,
                    deadline,
                    whole=request.whole,
                )
                return engine.submit_series(series)

            return Submission(text.model, submit, text)

        characters = len(request.generate.prompt)
        async with self._streams(request.generate.model, characters, context, prepare) as streams:
            assert streams.text is not None, "texts are generated"
            assert streams.series is not None, "a series was submitted"
            first = streams.series.request
            start = convert.to_start(streams.text, first.seed, first.notes)
            yield pb.GenerateSeriesResponse(start=start)
            parts = SeriesParts(request)
            async for updates in streams.bursts():
                current_call().tokens += sum(len(update.sampled) for update in updates)
                if not updates:
                    yield pb.GenerateSeriesResponse()
                for response in parts.responses(updates):
                    yield response
            if not streams.series.complete:
                raise DrainingError

    async def Converse(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ConverseRequest], context: Context
    ) -> AsyncIterator[pb.ConverseResponse]:
        """Holds one stream, and its forks, command by command."""
        try:
            conversation = await self._open_conversation(request_iterator)
        except CharloomError as error:
            await reject(context, error, self.metrics)
        self.conversations.add(conversation)
        try:
            async for event in conversation.run(request_iterator):
                current_call().tokens += event.generated.finish.generated_tokens
                yield event
        except CharloomError as error:
            await abort(context, error)
        finally:
            self.conversations.discard(conversation)

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: Context
    ) -> AsyncIterator[pb.ScoreResponse]:
        """Returns the log-probability of each token of texts."""
        scorers: list[TextScorer] = []

        def prepare() -> Submission:
            model = self._models().find(request.model)
            prepared = texts.to_scored(request, model.model, self.limits)
            scorers[:] = [model.model.scorer(text) for text in prepared]
            requests = [text.request for text in prepared]
            return Submission(model, lambda engine, deadline: engine.submit_all(requests, deadline))

        size = texts.size(request.texts, request.prompt)
        async with self._streams(request.model, size, context, prepare) as streams:
            async for updates in streams.bursts():
                if not updates:
                    yield pb.ScoreResponse()
                indexes = [streams.index[update.stream] for update in updates]
                parts = [
                    convert.to_score(index, update, scorers[index])
                    for index, update in zip(indexes, updates, strict=True)
                ]
                for response in texts.together(parts) if request.together else parts:
                    yield response

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Returns a vector for each text."""
        specs: list[StateSpec] = []

        def prepare() -> Submission:
            model = self._models().find(request.model)
            specs[:] = embedding_specs(model.bundle.manifest.embedding, model.executor.state)
            requests = texts.to_read(request, model.bundle, self.limits)
            return Submission(model, lambda engine, deadline: engine.submit_all(requests, deadline))

        async with self._streams(request.model, texts.size(request.texts), context, prepare) as streams:
            vectors = [pb.Embedding() for _ in streams.index]
            async for update in streams.updates():
                if update is not None and update.snapshot is not None:
                    vector = embedding(update.snapshot.state, specs)
                    vectors[streams.index[update.stream]].values.extend(vector.tolist())
        return pb.EmbedResponse(embeddings=vectors)

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Lists the models that the caller may use."""
        return pb.ListModelsResponse(models=[convert.to_model(model.model) for model in self._models()])

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse],
    ) -> pb.GetModelResponse:
        """Describes one model."""
        try:
            model = self._models().find(request.name)
            current_call().model = model.name
            return pb.GetModelResponse(model=convert.to_model(model.model))
        except CharloomError as error:
            await abort(context, error)

    @property
    def idle(self) -> bool:
        """Whether no call is running."""
        return not self.running and not self.conversations

    def heartbeat(self, interval: float) -> None:
        """Has each call send an empty message if it has sent none for `interval` seconds."""
        for streams in self.running:
            streams.reader.heartbeat(interval)
        for conversation in self.conversations:
            conversation.heartbeat(interval)

    def drain(self) -> None:
        """Refuses new requests, begins no texts of series any more, and lets conversations end."""
        self.draining = True
        for streams in self.running:
            if streams.series is not None:
                streams.series.closed = True
        for conversation in self.conversations:
            conversation.drain()

    @asynccontextmanager
    async def _streams(
        self, name: str, characters: int, context: Context, prepare: Callable[[], Submission]
    ) -> AsyncIterator[CallStreams]:
        """Admits a call with a text of so many characters, and yields its streams.

        However it ends, they are aborted and it is counted.
        """
        try:
            streams = await self._admit(name, characters, context, prepare)
        except CharloomError as error:
            await abort(context, error)
        outcome = ""
        self.running.add(streams)
        try:
            yield streams
            outcome = "ok"
        except CharloomError as error:
            outcome = code_name(error)
            await abort(context, error)
        except Exception:
            outcome = code_name(DefectError(""))
            raise
        finally:
            streams.reader.abort()
            self.running.discard(streams)
            # A client that disconnects cancels the coroutine; why the server ended one, its call says.
            outcome = outcome or current_call().outcome or "cancelled"
            streams.model.metrics.count_request(outcome)

    async def _admit(
        self, name: str, characters: int, context: Context, prepare: Callable[[], Submission]
    ) -> CallStreams:
        """Admits a call; raises CharloomError, and counts it, if it cannot be served."""
        try:
            self._check_draining()
            self._check_capacity(name)
            submission = await self.encoding.run(characters, prepare)
            self._check_draining()
            name = current_call().model = submission.model.name
            remaining = context.time_remaining()
            deadline = None if remaining is None else time.monotonic() + remaining
            return CallStreams(submission, submission.submit(submission.model.engine, deadline))
        except CharloomError as error:
            model = self.models.get(name)
            if model is not None:
                model.metrics.count_rejection(code_name(error))
            else:
                self.metrics.rejections.labels("", code_name(error)).inc()
            raise

    def _check_draining(self) -> None:
        """Raises DrainingError if the server shuts down."""
        if self.draining:
            raise DrainingError

    def _check_capacity(self, name: str) -> None:
        """Raises OverloadedError for a full model, before the request is read: refusing must be cheap."""
        if name or self.models.only is not None:
            self._models().find(name).engine.engine.check_capacity()

    def _to_response(
        self, streams: CallStreams, text: Text, update: Update | None, caller: bytes | None
    ) -> pb.GenerateResponse:
        """Returns the response of an update, with a state token if it has a snapshot."""
        if update is None:
            return pb.GenerateResponse()
        vocabulary = streams.model.bundle.vocabulary
        response = convert.to_response(text.message, streams.index[update.stream], update, vocabulary)
        if update.snapshot is not None:
            token = self.sealer.seal(state_token.save(text, update.stream.request, update.snapshot), caller)
            response.state.CopyFrom(pb.State(token=token, position=update.snapshot.position))
        return response

    async def _open_conversation(self, commands: AsyncIterator[pb.ConverseRequest]) -> ConversationCall:
        """Returns the conversation that a first command opens; raises CharloomError if it cannot be held."""
        if len(self.conversations) + self.opening >= self.conversation_limits.max_conversations:
            raise OverloadedError(self.conversation_limits.max_conversations, self.retry_after.next())
        first = await self._first(commands)
        self._check_draining()
        if not first.HasField("open"):
            raise InvalidRequestError([Violation("open", "must be the first command")])
        call = current_call()
        text, opening = self._resolver().resolve_conversation(first.open, call.caller.identity)
        call.model = text.model.name
        origin = opening.origin or await first_snapshot(text, opening)
        shared = ConversationContext(text, self.limits, self.sealer, self.encoding, call.caller.identity)
        return ConversationCall(shared, self.conversation_limits, origin)

    async def _first(self, commands: AsyncIterator[pb.ConverseRequest]) -> pb.ConverseRequest:
        """Returns the first command, an empty one if there is none.

        Raises:
            OpenTimeoutError: none came in time.
        """
        self.opening += 1
        try:
            async with asyncio.timeout(self.conversation_limits.opening_timeout):
                return await anext(aiter(commands), pb.ConverseRequest())
        except TimeoutError:
            raise OpenTimeoutError(self.conversation_limits.opening_timeout) from None
        finally:
            self.opening -= 1

    def _resolver(self) -> Resolver:
        """Returns a resolver that finds the models of the caller."""
        return replace(self.resolver, models=self._models())

    def _models(self) -> Models:
        """Returns the models that the caller may use."""
        return self.models.among(current_call().caller.models)


async def first_snapshot(text: Text, opening: Request) -> Snapshot:
    """Returns the snapshot with which a request that reads and generates nothing ends.

    Raises:
        CharloomError: the engine has no room for it, or it failed.
    """
    reader = text.model.engine.submit_texts(opening, deadline=None)
    try:
        (update,) = await reader.next()
    finally:
        reader.abort()
    if update.error is not None:
        raise update.error
    assert update.snapshot is not None, "it was requested"
    return update.snapshot

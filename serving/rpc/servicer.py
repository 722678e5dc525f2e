"""The gRPC service: one coroutine a call, from proto request to proto responses.

It sees when a call's text came and how the call ended, which is what the metrics count; what
happens inside a burst is the engine's.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.burst import StateSpec
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from charloom.v1.charloom_pb2_grpc import CharloomServiceServicer
from serving.engine.appointments import Appointments
from serving.engine.async_engine import AsyncEngine
from serving.engine.embedding import embedding, embedding_specs
from serving.engine.request import Update
from serving.errors import DefectError, DrainingError, OverloadedError, SilentOpenerError
from serving.metrics import Metrics
from serving.models import Models
from serving.rpc import convert, state_token, texts
from serving.rpc.answer import Answer, Job
from serving.rpc.branch import Place
from serving.rpc.calls import current_call
from serving.rpc.continuation import Opening
from serving.rpc.conversation import Conversation
from serving.rpc.convert import Text
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.security.sealing import Sealer
from serving.rpc.status import abort, code_name, reject
from serving.rpc.token_clock import TokenClock

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(CharloomServiceServicer):
    """Answers calls for a set of models, each with its engine."""

    def __init__(
        self,
        models: Models,
        engines: Mapping[str, AsyncEngine],
        limits: RequestLimits,
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
        self.unopened = 0
        """Calls whose client has not said yet what conversation it wants."""
        self.appointments = Appointments()
        """Of those for whom there are too many conversations."""
        self.opening = Opening(models, limits, sealer)
        self.draining = False
        """Set when the server shuts down: new requests are refused."""
        self.answers: set[Answer] = set()
        """Those under way."""

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates one text, or several from one prompt."""
        caller = current_call().caller.identity

        def begin() -> Job:
            text, asked = self._opening().open(request, caller)
            n = convert.text_count(text.asked)
            return Job(text.model, lambda engine, deadline: engine.open(asked, deadline, n), text)

        async with self._answer(request.model, context, begin) as answer:
            assert answer.text is not None, "a text is generated"
            clocks = {stream: TokenClock(self.metrics, answer.model.name) for stream in answer.index}
            yield convert.to_start(answer.text, answer.reader.streams[0].request)
            async for update in answer.updates():
                if update is not None:
                    clocks[update.stream].observe(len(update.choices))
                    current_call().tokens += len(update.choices)
                yield self._respond(answer, answer.text, update, caller)

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
        """Gives the log-probability of each token of texts."""

        def begin() -> Job:
            model = self._models().find(request.model)
            requests = texts.to_scored(request, model.bundle.vocabulary, self.limits)
            return Job(model, lambda engine, deadline: engine.open_all(requests, deadline))

        async with self._answer(request.model, context, begin) as answer:
            async for update in answer.updates():
                yield convert.to_score(answer.index[update.stream], update) if update else pb.ScoreResponse()

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Gives a vector for each text."""
        specs: list[StateSpec] = []

        def begin() -> Job:
            model = self._models().find(request.model)
            specs[:] = embedding_specs(model.bundle.manifest.embedding, model.runner.state)
            requests = texts.to_read(request, model.bundle.vocabulary, self.limits)
            return Job(model, lambda engine, deadline: engine.open_all(requests, deadline))

        async with self._answer(request.model, context, begin) as answer:
            vectors = [pb.Embedding() for _ in answer.index]
            async for update in answer.updates():
                if update is not None and update.snapshot is not None:
                    vector = embedding(update.snapshot.state, specs)
                    vectors[answer.index[update.stream]].values.extend(vector.tolist())
        return pb.EmbedResponse(embeddings=vectors)

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Lists what is served to the caller."""
        return pb.ListModelsResponse(models=map(convert.to_model, self._models()))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse],
    ) -> pb.GetModelResponse:
        """Describes one model."""
        try:
            model = self._models().find(request.name)
            current_call().model = model.name
            return pb.GetModelResponse(model=convert.to_model(model))
        except CharloomError as error:
            await abort(context, error)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.answers and not self.conversations

    def beat(self, silence: float) -> None:
        """Has every call that has had no news for so many seconds tell its client that it is alive."""
        for answer in self.answers:
            answer.reader.poke(silence)
        for conversation in self.conversations:
            conversation.beat(silence)

    def drain(self) -> None:
        """Takes no more requests, and lets conversations end."""
        self.draining = True
        for conversation in self.conversations:
            conversation.hang_up()

    @asynccontextmanager
    async def _answer(self, name: str, context: Context, begin: Callable[[], Job]) -> AsyncIterator[Answer]:
        """An answer while it is under way; however it ends, its streams are given up and it is counted."""
        try:
            answer = self._open(name, context, begin)
        except CharloomError as error:
            await abort(context, error)
        outcome = ""
        self.answers.add(answer)
        try:
            yield answer
            outcome = "ok"
        except CharloomError as error:
            outcome = code_name(error)
            await abort(context, error)
        except Exception:
            outcome = code_name(DefectError(""))
            raise
        finally:
            answer.reader.close()
            self.answers.discard(answer)
            # A client that goes away cancels the coroutine; why one was ended from outside, its call says.
            outcome = outcome or current_call().outcome or "cancelled"
            self.metrics.requests.labels(answer.model.name, outcome).inc()

    def _open(self, name: str, context: Context, begin: Callable[[], Job]) -> Answer:
        """Lets a call in; raises CharloomError, and counts it, where it cannot be served."""
        try:
            if self.draining:
                raise DrainingError
            self._find_room(name)
            job = begin()
            name = current_call().model = job.model.name
            remaining = context.time_remaining()
            deadline = None if remaining is None else time.monotonic() + remaining
            return Answer(job, job.submit(self.engines[name], deadline))
        except CharloomError as error:
            known = name if name in self.engines else ""
            self.metrics.rejections.labels(known, code_name(error)).inc()
            raise

    def _find_room(self, name: str) -> None:
        """Raises OverloadedError for a full model, before the request is read: to refuse must be cheap."""
        if name or len(self.engines) == 1:
            self.engines[self._models().find(name).name].engine.find_room()

    def _respond(
        self, answer: Answer, text: Text, update: Update | None, caller: bytes | None
    ) -> pb.GenerateResponse:
        """What a client is told of news, or of there being none."""
        if update is None:
            return pb.GenerateResponse()
        vocabulary = answer.model.bundle.vocabulary
        response = convert.to_response(text.asked, answer.index[update.stream], update, vocabulary)
        if update.snapshot is not None:
            token = self.sealer.seal(state_token.save(text, update.stream.request, update.snapshot), caller)
            response.state.CopyFrom(pb.State(token=token, position=update.snapshot.position))
        return response

    async def _open_conversation(self, commands: AsyncIterator[pb.ConverseRequest]) -> Conversation:
        """The conversation that a first command opens; raises CharloomError if it can't be held."""
        if len(self.conversations) + self.unopened >= self.bounds.max_conversations:
            raise OverloadedError(self.bounds.max_conversations, self.appointments.wait())
        first = await self._first(commands)
        if self.draining:
            raise DrainingError
        if not first.HasField("open"):
            raise InvalidRequestError([Violation("open", "must be the first command")])
        call = current_call()
        text, origin = self._opening().converse(first.open, call.caller.identity)
        call.model = text.model.name
        engine = self.engines[text.model.name]
        place = Place(text, engine, self.limits, self.sealer, call.caller.identity)
        return Conversation(place, self.bounds, origin)

    async def _first(self, commands: AsyncIterator[pb.ConverseRequest]) -> pb.ConverseRequest:
        """The first command, an empty one if there is none; raises SilentOpenerError if none comes soon."""
        self.unopened += 1
        try:
            async with asyncio.timeout(self.bounds.opening_timeout):
                return await anext(aiter(commands), pb.ConverseRequest())
        except TimeoutError:
            raise SilentOpenerError(self.bounds.opening_timeout) from None
        finally:
            self.unopened -= 1

    def _opening(self) -> Opening:
        """What finds out what the caller's calls for text come to."""
        return replace(self.opening, models=self._models())

    def _models(self) -> Models:
        """The models that the caller may use."""
        return self.models.among(current_call().caller.models)

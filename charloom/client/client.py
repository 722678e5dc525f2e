"""The two clients, synchronous and asyncio: the calls of a server, in plain types."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Generic, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf import json_format

import charloom.v1.charloom_pb2 as pb
from charloom.client.attempts import Attempts
from charloom.client.conversation import Conversation
from charloom.client.generation import AsyncGeneration, Generation
from charloom.client.message import shape, to_message
from charloom.client.request_error import RequestError
from charloom.client.retries import RetryConfig
from charloom.client.series import AsyncSeries, Series, SeriesAttempts
from charloom.client.servers import Servers, connect, connect_async, several
from charloom.connection import Tls
from charloom.options import SEEDS, GenerateOptions, InvalidRequestError, Violation, no_string
from charloom.score import Score

Channel = TypeVar("Channel", bound=grpc.Channel | grpc.aio.Channel)
Texts = TypeVar("Texts", bound=Attempts)
Many = TypeVar("Many", bound=SeriesAttempts)
T = TypeVar("T")


@dataclass(frozen=True)
class NetworkInfo:
    """Kind and size of a network; the fields of `Network` in the wire contract."""

    kind: str
    version: int
    config: dict[str, Any]
    """Its size and options, by the names that `charloom train` has for them."""
    parameters: int
    description: str
    """In a few words, such as `LSTM, 2 x 512 cells`."""


@dataclass(frozen=True)
class ModelInfo:
    """The description of one model: the fields of `Model` in the wire contract."""

    name: str
    version: str
    bundle_digest: str
    execution_class: str
    precision: str
    network: NetworkInfo
    vocabulary_size: int
    validation_loss: float
    state_bytes: int
    ends: bool
    """Whether its texts are records, which end."""
    labels: dict[str, list[str]]
    """The labels that every record has, and what each can be."""
    delimiter: str | None = None
    """What was between the records of the training text, and is part of none; None if nothing was."""
    end: int | None = None
    """Id of the token that ends a record; None if texts have no end."""


class BaseClient(Generic[Channel, Texts, Many]):
    """What both clients have in common: servers, and requests for texts."""

    _connect: Callable[[str, Tls | None], Channel]
    """Opens a channel to a server."""
    _generation: type[Texts]
    """The class of its generations ..."""
    _series: type[Many]
    """... and of its series."""

    def __init__(
        self,
        address: str | Sequence[str],
        retries: RetryConfig = RetryConfig(),
        *,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        """Connects with the first call.

        Args:
            address: HOST:PORT, or several of them, among which calls take turns.
            retries: when failed generations are retried.
            tls: encrypts the connection; without it there is no encryption.
            token: sent with each call, to a server that demands one.

        Raises:
            ConfigError: a file cannot be read, or the token has characters that no token can have.
        """
        self._channels: list[Channel] = [self._connect(one, tls) for one in several(address)]
        self._servers = Servers(self._channels, token)
        self._retries = retries

    def generate(
        self,
        prompt: str = "",
        *,
        model: str = "",
        n: int = 1,
        labels: Sequence[str] = (),
        logprobs: int | None = None,
        token_ids: bool = False,
        state: bytes = b"",
        return_state: bool = False,
        state_interval: int | None = None,
        require_exact: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> Texts:
        """Requests a text, or several.

        A text whose server fails goes on with another call, on the next address: from its newest state,
        or by a replay of its tokens. The caller sees one text.

        Args:
            prompt: read first, not repeated in the text.
            model: name of the model; may be empty on a server of one model.
            n: number of texts; the one at index i has the seed plus i.
            labels: one value for each of the model's labels, in their order; a state has its own.
            logprobs: alternatives a token (0 to 20) in the pieces, beside its log-probability; None: neither.
            token_ids: whether pieces hold token ids.
            state: a state token to go on from, instead of the beginning.
            return_state: whether the last piece of each text holds a state token.
            state_interval: tokens after which the next piece holds a state token; a piece is a burst, of up
                to some hundred tokens. 0: none; None: chosen by the length of the text.
            require_exact: whether to fail rather than to go on where the text may become another.
            timeout: seconds for the whole generation.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: an option has a value that no server takes.
        """
        message = to_message(prompt, GenerateOptions(**options), n, logprobs)
        message.labels.extend(no_string(labels, "labels"))
        shape(message, model, token_ids, state, return_state, state_interval, require_exact)
        return self._begin(message, timeout)

    def resume(
        self,
        state: bytes,
        *,
        return_state: bool = False,
        token_ids: bool = False,
        timeout: float | None = None,
    ) -> Texts:
        """Resumes the text within which a state token was taken, with the parameters of its request."""
        message = pb.GenerateRequest(state=state, resume=True, return_state=return_state, token_ids=token_ids)
        return self._begin(message, timeout)

    def generate_series(
        self,
        prompt: str = "",
        *,
        indexes: range,
        model: str = "",
        parallel: int | None = None,
        labels: Sequence[str] = (),
        logprobs: int | None = None,
        token_ids: bool = False,
        state: bytes = b"",
        bundle_digest: str = "",
        execution_class: str = "",
        require_exact: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> Many:
        """Requests many texts of one prompt by one call, and yields each as soon as it has ended.

        The text at index i has the seed plus i, and is that of `generate` with this seed. Where a server
        fails, the texts that it has not finished begin anew on the next.

        Args:
            prompt: read first, not repeated in the texts.
            indexes: which texts, such as range(1000); they begin in this order.
            model: name of the model; may be empty on a server of one model.
            parallel: texts generated at the same time, at the most; None: the server's default.
            labels: one value for each of the model's labels, in their order; a state has its own.
            logprobs: 0 if texts hold the log-probability of each token, without alternatives; else None.
            token_ids: whether texts hold token ids.
            state: a state token to go on from, instead of the beginning.
            bundle_digest: the only bundle whose texts to take, if there is one.
            execution_class: the execution class of earlier texts, if there are any.
            require_exact: whether to fail rather than to take texts of another execution class than that, or
                than the first.
            timeout: seconds for all of them.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: an option has a value that no server takes.
        """
        check_series(indexes, parallel, logprobs)
        generate = to_message(prompt, GenerateOptions(**options), 1, logprobs)
        generate.ClearField("n")
        generate.labels.extend(no_string(labels, "labels"))
        shape(generate, model, token_ids, state, False, 0, require_exact)
        generate.bundle_digest, generate.execution_class = bundle_digest, execution_class
        message = pb.GenerateSeriesRequest(generate=generate, parallel=parallel, whole=True)
        start = self._servers.round("GenerateSeries")
        return self._series(start, message, indexes, timeout, self._retries, len(self._servers))

    def _begin(self, message: pb.GenerateRequest, timeout: float | None) -> Texts:
        """Begins a generation on the next server."""
        start = self._servers.round("Generate")
        return self._generation(start, message, timeout, self._retries, len(self._servers))


class Client(BaseClient[grpc.Channel, Generation, Series]):
    """A client of one server, or of several that serve the same; safe for several threads."""

    _connect = staticmethod(connect)
    _generation = Generation
    _series = Series

    def converse(
        self,
        *,
        model: str = "",
        state: bytes = b"",
        labels: Sequence[str] = (),
        require_exact: bool = False,
    ) -> Conversation:
        """Opens a conversation: one stream, command by command, from a state token or from the beginning.

        It is lost with its server, but for the states in `Conversation.states`.

        Raises:
            RequestError: no server opens it.
        """
        opening = pb.Open(
            model=model, state=state, require_exact=require_exact, labels=no_string(labels, "labels")
        )
        return self._call(lambda stub: Conversation(stub.Converse, opening))

    def score(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        model: str = "",
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
        ranks: bool = False,
    ) -> list[Score]:
        """The log-probability of each token of each text, read after the prompt.

        Of a model of records each text is a whole record: its last token is the end.
        """
        message = to_score_request(texts, prompt, model, labels, skip_unknown=skip_unknown, ranks=ranks)
        return to_scores(self._call(lambda stub: list(stub.Score(message))), len(texts))

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
    ) -> list[list[float]]:
        """A vector of length 1 for each text; the inner product of two is their cosine similarity."""
        message = to_embed_request(texts, model, labels, skip_unknown=skip_unknown)
        return [list(vector.values) for vector in self._call(lambda stub: stub.Embed(message)).embeddings]

    def models(self) -> list[ModelInfo]:
        """The models that the server serves."""
        return [to_info(model) for model in self._call(lambda s: s.ListModels(pb.ListModelsRequest())).models]

    def model(self, name: str = "") -> ModelInfo:
        """The description of one model."""
        return to_info(self._call(lambda stub: stub.GetModel(pb.GetModelRequest(name=name))).model)

    def _call(self, call: Callable[[Any], T]) -> T:
        """The answer of the next server, or of the one after it where that is unreachable."""
        for left in reversed(range(len(self._servers))):
            try:
                return call(self._servers.next())
            except grpc.RpcError as error:
                failure = RequestError.of(error)
            except RequestError as error:
                failure = error
            if not left or failure.code != grpc.StatusCode.UNAVAILABLE:
                raise failure
        raise AssertionError("the last address gives an answer or raises")

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(BaseClient[grpc.aio.Channel, AsyncGeneration, AsyncSeries]):
    """The client for an asyncio event loop, inside which it is constructed.

    Its methods are those of `Client`, awaited; it has no conversations.
    """

    _connect = staticmethod(connect_async)
    _generation = AsyncGeneration
    _series = AsyncSeries

    async def score(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        model: str = "",
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
        ranks: bool = False,
    ) -> list[Score]:
        """The log-probability of each token of each text, read after the prompt.

        Of a model of records each text is a whole record: its last token is the end.
        """
        message = to_score_request(texts, prompt, model, labels, skip_unknown=skip_unknown, ranks=ranks)

        async def read(stub: Any) -> list[pb.ScoreResponse]:
            return [response async for response in stub.Score(message)]

        return to_scores(await self._call(read), len(texts))

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
    ) -> list[list[float]]:
        """A vector of length 1 for each text; the inner product of two is their cosine similarity."""
        message = to_embed_request(texts, model, labels, skip_unknown=skip_unknown)
        response: pb.EmbedResponse = await self._call(lambda stub: stub.Embed(message))
        return [list(vector.values) for vector in response.embeddings]

    async def models(self) -> list[ModelInfo]:
        """The models that the server serves."""
        response: pb.ListModelsResponse = await self._call(lambda s: s.ListModels(pb.ListModelsRequest()))
        return [to_info(model) for model in response.models]

    async def model(self, name: str = "") -> ModelInfo:
        """The description of one model."""
        response: pb.GetModelResponse = await self._call(lambda s: s.GetModel(pb.GetModelRequest(name=name)))
        return to_info(response.model)

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """The answer of the next server, or of the one after it where that is unreachable."""
        for left in reversed(range(len(self._servers))):
            try:
                return await call(self._servers.next())
            except grpc.aio.AioRpcError as error:
                if not left or error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise RequestError.of(error) from error
        raise AssertionError("the last address gives an answer or raises")

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def to_score_request(
    texts: Sequence[str], prompt: str, model: str, labels: Sequence[str], *, skip_unknown: bool, ranks: bool
) -> pb.ScoreRequest:
    """Returns the message that asks for scores; raises TypeError for a string in place of a list."""
    return pb.ScoreRequest(
        texts=no_string(texts),
        prompt=prompt,
        model=model,
        labels=no_string(labels, "labels"),
        skip_unknown=skip_unknown,
        ranks=ranks,
        together=True,
    )


def to_embed_request(
    texts: Sequence[str], model: str, labels: Sequence[str], *, skip_unknown: bool
) -> pb.EmbedRequest:
    """Returns the message that asks for vectors; raises TypeError for a string in place of a list."""
    return pb.EmbedRequest(
        texts=no_string(texts), model=model, labels=no_string(labels, "labels"), skip_unknown=skip_unknown
    )


def to_scores(responses: Iterable[pb.ScoreResponse], count: int) -> list[Score]:
    """Returns the scores of so many texts, whose parts the responses hold."""
    scores = [Score() for _ in range(count)]
    for part in chain.from_iterable(response.parts for response in responses):
        score = Score(unknown=part.unknown)
        score.add(part.token_ids, part.logprobs, part.token_texts, part.ranks)
        scores[part.index].extend(score)
    return scores


def to_info(model: pb.Model) -> ModelInfo:
    """Returns a model's description without proto types."""
    values = {field.name: getattr(model, field.name) for field in fields(ModelInfo)}
    network = {field.name: getattr(model.network, field.name) for field in fields(NetworkInfo)}
    config = {name: plain(value) for name, value in json_format.MessageToDict(model.network.config).items()}
    labels = {column.name: list(column.values) for column in model.labels}
    info = NetworkInfo(**network | {"config": config})
    optional = {name: getattr(model, name) if model.HasField(name) else None for name in ("delimiter", "end")}
    return ModelInfo(**values | optional | {"network": info, "labels": labels})


def plain(value: Any) -> Any:
    """Returns a value of a Struct, whose numbers are all floats, with whole numbers as integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_series(indexes: object, parallel: int | None, logprobs: int | None) -> None:
    """Raises InvalidRequestError unless a server can make such a series."""
    violations = []
    if not isinstance(indexes, range):
        violations.append(Violation("indexes", "must be a range, such as range(1000)"))
    elif indexes and not (indexes[0] >= 0 and indexes[-1] < SEEDS and indexes.step > 0):
        violations.append(Violation("indexes", "must count up, from 0 to below 2**64"))
    if parallel is not None and parallel < 1:
        violations.append(Violation("parallel", f"must be at least 1, not {parallel}"))
    if logprobs not in (None, 0):
        violations.append(Violation("logprobs", "must be 0 or None: a series has no alternatives"))
    if violations:
        raise InvalidRequestError(violations)

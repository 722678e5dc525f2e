"""The two clients: what can be asked of a server, in plain types."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf import json_format

import charloom.v1.charloom_pb2 as pb
from charloom.client.conversation import Conversation
from charloom.client.generation import (
    AsyncGeneration,
    Attempts,
    Generation,
)
from charloom.client.message import shape, to_message
from charloom.client.request_error import RequestError
from charloom.client.retries import RetryConfig
from charloom.client.servers import Servers, connect, connect_async, several
from charloom.connection import Tls
from charloom.options import GenerateOptions
from charloom.score import Score

Channel = TypeVar("Channel", bound=grpc.Channel | grpc.aio.Channel)
Texts = TypeVar("Texts", bound=Attempts)
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
    """What a server says of one model; the fields of `Model` in the wire contract."""

    name: str
    version: str
    bundle_digest: str
    execution_class: str
    precision: str
    network: NetworkInfo
    vocabulary_size: int
    validation_loss: float
    state_bytes: int


class BaseClient(Generic[Channel, Texts]):
    """What both clients have in common: servers, and how texts are asked of them."""

    _connect: Callable[[str, Tls | None], Channel]
    """Makes a channel to a server."""
    _generation: type[Texts]
    """What it gives where it is asked for texts."""

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
            address: HOST:PORT, or several of it, among which calls take turns.
            retries: how patient it is with servers that fail.
            tls: encrypts the connection (`charloom.connection.Tls`); nothing does without it.
            token: shown with each call, to a server that asks for one.

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
        logprobs: int | None = None,
        token_ids: bool = False,
        state: bytes = b"",
        return_state: bool = False,
        state_interval: int | None = None,
        require_exact: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> Texts:
        """Asks for a text, or several.

        A text whose server fails goes on with another call, on the next address: from its newest state,
        or with what came of it read again. The caller sees one text.

        Args:
            prompt: read first, not repeated in the text.
            model: name of the model; may be empty on a server of one.
            n: how many texts; the one at index i has the seed plus i.
            logprobs: pieces hold log-probabilities, with so many alternatives a token (0 to 20).
            token_ids: whether pieces hold token ids.
            state: a state token, from which to go on instead of from the beginning.
            return_state: whether the last piece of each text holds a state token.
            state_interval: tokens after which the next piece holds one: pieces come a burst at a time, of up
                to some hundred tokens. 0 for none; chosen by length if absent.
            require_exact: whether to fail rather than to go on where it may not be the same text.
            timeout: seconds until the server is to give up.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: an option has a value that no server takes.
        """
        message = to_message(prompt, GenerateOptions(**options), n, logprobs)
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
        """Goes on with the very text in the midst of which a state token was taken, as it was begun."""
        message = pb.GenerateRequest(state=state, resume=True, return_state=return_state, token_ids=token_ids)
        return self._begin(message, timeout)

    def _begin(self, message: pb.GenerateRequest, timeout: float | None) -> Texts:
        """Begins what is asked for on the next server."""
        return self._generation(self._servers.round(), message, timeout, self._retries, len(self._servers))


class Client(BaseClient[grpc.Channel, Generation]):
    """Talks to a server, or to several that serve the same; safe for several threads."""

    _connect = staticmethod(connect)
    _generation = Generation

    def converse(self, *, model: str = "", state: bytes = b"", require_exact: bool = False) -> Conversation:
        """Begins a conversation: one stream, command by command; at a state, if one is given.

        It does not survive its server, but for the states in `Conversation.states`.

        Raises:
            RequestError: no server holds it.
        """
        opening = pb.Open(model=model, state=state, require_exact=require_exact)
        return self._ask(lambda stub: Conversation(stub.Converse, opening))

    def score(
        self, texts: Sequence[str], *, prompt: str = "", model: str = "", skip_unknown: bool = False
    ) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        message = pb.ScoreRequest(
            texts=no_string(texts), prompt=prompt, model=model, skip_unknown=skip_unknown
        )
        scores = [Score() for _ in texts]
        for response in self._ask(lambda stub: list(stub.Score(message))):
            scores[response.index].add(response.token_ids, response.logprobs, response.token_texts)
        return scores

    def embed(
        self, texts: Sequence[str], *, model: str = "", skip_unknown: bool = False
    ) -> list[list[float]]:
        """Gives a vector of length 1 for each text; the inner product of two says how near they are."""
        message = pb.EmbedRequest(texts=no_string(texts), model=model, skip_unknown=skip_unknown)
        return [list(vector.values) for vector in self._ask(lambda stub: stub.Embed(message)).embeddings]

    def models(self) -> list[ModelInfo]:
        """Lists what the server serves."""
        return [to_info(model) for model in self._ask(lambda s: s.ListModels(pb.ListModelsRequest())).models]

    def model(self, name: str = "") -> ModelInfo:
        """Describes one model."""
        return to_info(self._ask(lambda stub: stub.GetModel(pb.GetModelRequest(name=name))).model)

    def _ask(self, ask: Callable[[Any], T]) -> T:
        """What the next server answers, or the one after it where that is gone."""
        for left in reversed(range(len(self._servers))):
            try:
                return ask(self._servers.next())
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


class AsyncClient(BaseClient[grpc.aio.Channel, AsyncGeneration]):
    """Talks to servers from an asyncio event loop; made inside it.

    Its methods are those of `Client`, awaited; it holds no conversations.
    """

    _connect = staticmethod(connect_async)
    _generation = AsyncGeneration

    async def score(
        self, texts: Sequence[str], *, prompt: str = "", model: str = "", skip_unknown: bool = False
    ) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        message = pb.ScoreRequest(
            texts=no_string(texts), prompt=prompt, model=model, skip_unknown=skip_unknown
        )

        async def ask(stub: Any) -> list[pb.ScoreResponse]:
            return [response async for response in stub.Score(message)]

        scores = [Score() for _ in texts]
        for response in await self._ask(ask):
            scores[response.index].add(response.token_ids, response.logprobs, response.token_texts)
        return scores

    async def embed(
        self, texts: Sequence[str], *, model: str = "", skip_unknown: bool = False
    ) -> list[list[float]]:
        """Gives a vector of length 1 for each text; the inner product of two says how near they are."""
        message = pb.EmbedRequest(texts=no_string(texts), model=model, skip_unknown=skip_unknown)
        response: pb.EmbedResponse = await self._ask(lambda stub: stub.Embed(message))
        return [list(vector.values) for vector in response.embeddings]

    async def models(self) -> list[ModelInfo]:
        """Lists what the server serves."""
        response: pb.ListModelsResponse = await self._ask(lambda s: s.ListModels(pb.ListModelsRequest()))
        return [to_info(model) for model in response.models]

    async def model(self, name: str = "") -> ModelInfo:
        """Describes one model."""
        response: pb.GetModelResponse = await self._ask(lambda s: s.GetModel(pb.GetModelRequest(name=name)))
        return to_info(response.model)

    async def _ask(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What the next server answers, or the one after it where that is gone."""
        for left in reversed(range(len(self._servers))):
            try:
                return await ask(self._servers.next())
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


def no_string(texts: Sequence[str]) -> Sequence[str]:
    """Texts; raises TypeError for a single one, which would be taken for its characters."""
    if isinstance(texts, str):
        raise TypeError("texts are a list: put a single one into [ ]")
    return texts


def to_info(model: pb.Model) -> ModelInfo:
    """Returns a model's description without proto types."""
    values = {field.name: getattr(model, field.name) for field in fields(ModelInfo)}
    network = {field.name: getattr(model.network, field.name) for field in fields(NetworkInfo)}
    config = {name: plain(value) for name, value in json_format.MessageToDict(model.network.config).items()}
    return ModelInfo(**values | {"network": NetworkInfo(**network | {"config": config})})


def plain(value: Any) -> Any:
    """Returns a value of a Struct, whose numbers are all floats, with whole numbers as integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

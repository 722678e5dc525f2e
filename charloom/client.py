"""The Python client, synchronous and asyncio.

    from charloom.client import Client

    with Client("127.0.0.1:50051") as client:
        for text in client.generate("ROMEO:", max_tokens=200, seed=1):
            print(text, end="", flush=True)

A generation yields its text as it arrives; it also knows its seed, and in the end how it ended.
Proto types stay behind this file.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import GenerateOptions, Token, Violation, check
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub

# A pause between responses may be a busy server; only a connection that is gone ends a stream.
CHANNEL_OPTIONS = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
DETAILS = "grpc-status-details-bin"


class RequestError(CharloomError):
    """The server refused a call or could not finish it.

    `code` is gRPC's status code, `violations` names the fields it complains of, and `retry_after`
    holds the seconds it asks to wait, if it does.
    """

    def __init__(self, error: grpc.RpcError | grpc.aio.AioRpcError) -> None:
        call = cast(grpc.aio.AioRpcError, error)  # a synchronous call has the same methods
        self.code: grpc.StatusCode = call.code()
        self.violations: list[Violation] = []
        self.retry_after: float | None = None
        super().__init__(f"{self.code.name}: {call.details()}")
        metadata = cast(Sequence[tuple[str, bytes]], call.trailing_metadata() or ())
        for detail in status_pb2.Status.FromString(dict(metadata).get(DETAILS, b"")).details:
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(bad):
                self.violations = [Violation(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToNanoseconds() / 1e9


@dataclass(frozen=True)
class ModelInfo:
    """What a server says of one model; the fields of `Model` in the wire contract."""

    name: str
    version: str
    bundle_digest: str
    execution_class: str
    precision: str
    cell: str
    layers: int
    cells: int
    parameters: int
    vocabulary_size: int
    validation_loss: float
    state_bytes: int


@dataclass(frozen=True)
class Alternative:
    """A token that could have been chosen, and its log-probability (nats)."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Ending:
    """How a text ended."""

    reason: str
    """length or stop."""
    prompt_tokens: int
    generated_tokens: int


@dataclass(frozen=True)
class Piece:
    """One response: some text, and what was asked for of its T tokens."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    """Nats, by the model itself: at temperature 1, before penalties, biases and filters."""
    alternatives: list[list[Alternative]]
    """[T, N]: the likeliest tokens in the place of each."""
    position: int
    """Tokens of the prompt and of all text so far."""
    index: int = 0
    """Which of the texts it belongs to."""


@dataclass
class Progress:
    """What a generation knows of itself."""

    model: str = ""
    bundle_digest: str = ""
    execution_class: str = ""
    seed: int | None = None
    """The seed in use, known once the first response is there; of the first text, of several."""
    endings: dict[int, Ending] = field(default_factory=dict)
    """Of the texts that are complete, by index."""

    @property
    def finish(self) -> str | None:
        """How the text ended, length or stop, once it is complete; the first, of several."""
        return self.endings[0].reason if 0 in self.endings else None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, once the first text is complete."""
        return self.endings[0].prompt_tokens if 0 in self.endings else 0

    @property
    def generated_tokens(self) -> int:
        """Tokens of all texts that are complete."""
        return sum(ending.generated_tokens for ending in self.endings.values())

    def take(self, response: pb.GenerateResponse) -> Piece:
        """Notes what a response tells of the generation and gives the piece in it."""
        if response.HasField("start"):
            start = response.start
            self.model, self.seed = start.model, start.seed
            self.bundle_digest, self.execution_class = start.bundle_digest, start.execution_class
        if response.HasField("finish"):
            finish = response.finish
            reason = pb.FinishReason.Name(finish.reason).removeprefix("FINISH_REASON_").lower()
            self.endings[response.index] = Ending(reason, finish.prompt_tokens, finish.generated_tokens)
        return Piece(
            text=response.text,
            token_ids=list(response.token_ids),
            logprobs=list(response.logprobs),
            alternatives=[
                [Alternative(a.token_id, a.text, a.logprob) for a in place.alternatives]
                for place in response.alternatives
            ],
            position=response.position,
            index=response.index,
        )


class Responses(Protocol):
    """A synchronous call that is under way."""

    def __iter__(self) -> Iterator[pb.GenerateResponse]: ...

    def cancel(self) -> bool:
        """Gives the call up."""


class Generation(Progress):
    """Texts on their way; iterate for the pieces of a single one, or `pieces()` for more."""

    def __init__(self, call: Responses, n: int) -> None:
        super().__init__()
        self._call = call
        self.n = n

    def pieces(self) -> Iterator[Piece]:
        """Yields the responses; raises RequestError if the server ends the text early."""
        try:
            for response in self._call:
                yield self.take(response)
        except grpc.RpcError as error:
            raise RequestError(error) from error

    def __iter__(self) -> Iterator[str]:
        single(self.n)
        return (piece.text for piece in self.pieces() if piece.text)

    def text(self) -> str:
        """Waits for the whole text, if it is a single one."""
        return "".join(self)

    def texts(self) -> list[str]:
        """Waits for all texts; the one at index i has the seed plus i."""
        texts = [""] * self.n
        for piece in self.pieces():
            texts[piece.index] += piece.text
        return texts

    def cancel(self) -> None:
        """Tells the server that the rest is not wanted."""
        self._call.cancel()


class AsyncGeneration(Progress):
    """Texts on their way, for `async for`."""

    def __init__(
        self, call: "grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateResponse]", n: int
    ) -> None:
        super().__init__()
        self._call = call
        self.n = n

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yields the responses; raises RequestError if the server ends the text early."""
        try:
            async for response in self._call:
                yield self.take(response)
        except grpc.aio.AioRpcError as error:
            raise RequestError(error) from error

    async def __aiter__(self) -> AsyncIterator[str]:
        single(self.n)
        async for piece in self.pieces():
            if piece.text:
                yield piece.text

    async def text(self) -> str:
        """Waits for the whole text, if it is a single one."""
        return "".join([text async for text in self])

    async def texts(self) -> list[str]:
        """Waits for all texts; the one at index i has the seed plus i."""
        texts = [""] * self.n
        async for piece in self.pieces():
            texts[piece.index] += piece.text
        return texts

    def cancel(self) -> None:
        """Tells the server that the rest is not wanted."""
        self._call.cancel()


class Client:
    """Talks to one server; safe for several threads."""

    def __init__(self, address: str) -> None:
        """Takes HOST:PORT. Connects with the first call."""
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = CharloomServiceStub(self._channel)

    def generate(
        self,
        prompt: str = "",
        *,
        model: str = "",
        n: int = 1,
        logprobs: int | None = None,
        token_ids: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> Generation:
        """Asks for a text, or several.

        Args:
            prompt: read first, not repeated in the text.
            model: name of the model; may be empty on a server of one.
            n: how many texts; the one at index i has the seed plus i.
            logprobs: pieces hold log-probabilities, with so many alternatives a token (0 to 20).
            token_ids: whether pieces hold token ids.
            timeout: seconds until the server is to give up.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: an option has a value that no server takes.
        """
        message = to_message(prompt, GenerateOptions(**options), n, logprobs)
        message.model, message.token_ids = model, token_ids
        return Generation(self._stub.Generate(message, timeout=timeout), n)

    def models(self) -> list[ModelInfo]:
        """Lists what the server serves."""
        try:
            return [to_info(model) for model in self._stub.ListModels(pb.ListModelsRequest()).models]
        except grpc.RpcError as error:
            raise RequestError(error) from error

    def model(self, name: str = "") -> ModelInfo:
        """Describes one model."""
        try:
            return to_info(self._stub.GetModel(pb.GetModelRequest(name=name)).model)
        except grpc.RpcError as error:
            raise RequestError(error) from error

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """Talks to one server from an asyncio event loop; made inside it."""

    def __init__(self, address: str) -> None:
        """Takes HOST:PORT. Connects with the first call."""
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = CharloomServiceStub(self._channel)

    def generate(
        self,
        prompt: str = "",
        *,
        model: str = "",
        n: int = 1,
        logprobs: int | None = None,
        token_ids: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> AsyncGeneration:
        """Asks for a text, or several; the arguments are those of `Client.generate`."""
        message = to_message(prompt, GenerateOptions(**options), n, logprobs)
        message.model, message.token_ids = model, token_ids
        return AsyncGeneration(self._stub.Generate(message, timeout=timeout), n)

    async def models(self) -> list[ModelInfo]:
        """Lists what the server serves."""
        try:
            response = await self._stub.ListModels(pb.ListModelsRequest())
        except grpc.aio.AioRpcError as error:
            raise RequestError(error) from error
        return [to_info(model) for model in response.models]

    async def model(self, name: str = "") -> ModelInfo:
        """Describes one model."""
        try:
            response = await self._stub.GetModel(pb.GetModelRequest(name=name))
        except grpc.aio.AioRpcError as error:
            raise RequestError(error) from error
        return to_info(response.model)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def single(n: int) -> None:
    """Raises unless there is one text only, for those who would mix up several."""
    if n != 1:
        raise ValueError(f"there are {n} texts: take them with pieces() or texts()")


def to_message(
    prompt: str, options: GenerateOptions, n: int = 1, logprobs: int | None = None
) -> pb.GenerateRequest:
    """The request as it goes over the wire.

    Raises:
        InvalidRequestError: an option has a value that no server takes.
    """
    check(options, n, logprobs)
    fields: dict[str, Any] = dict(vars(options))  # they have the same names on the wire
    for name, tokens in options.named_tokens.items():
        fields[name] = [to_token(token) for token in tokens]
    fields["logit_bias"] = [
        pb.LogitBias(token=token, bias=bias)
        for token, (_, bias) in zip(fields["logit_bias"], options.logit_bias, strict=True)
    ]
    return pb.GenerateRequest(prompt=prompt, n=n, logprobs=logprobs, **fields)


def to_token(token: Token) -> pb.Token:
    """A token's name as it goes over the wire."""
    return pb.Token(text=token) if isinstance(token, str) else pb.Token(id=token)


def to_info(model: pb.Model) -> ModelInfo:
    """A model's description, free of proto types."""
    return ModelInfo(**{field.name: getattr(model, field.name) for field in fields(ModelInfo)})

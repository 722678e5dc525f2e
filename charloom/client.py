"""The Python client, synchronous and asyncio.

    from charloom.client import Client

    with Client("127.0.0.1:50051") as client:
        for text in client.generate("ROMEO:", max_tokens=200, seed=1):
            print(text, end="", flush=True)

A generation yields its text as it arrives; it also knows its seed, and in the end how it ended.
Proto types stay behind this file.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import GenerateOptions, Violation, check
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
class Piece:
    """One response: some text, and its tokens and log-probabilities (nats) where asked for."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    position: int
    """Tokens of the prompt and of all text so far."""


@dataclass
class Progress:
    """What a generation knows of itself."""

    model: str = ""
    bundle_digest: str = ""
    execution_class: str = ""
    seed: int | None = None
    """The seed in use, known once the first response is there."""
    finish: str | None = None
    """length or stop, once the text is complete."""
    prompt_tokens: int = 0
    generated_tokens: int = 0

    def take(self, response: pb.GenerateResponse) -> Piece:
        """Notes what a response tells of the generation and gives the piece in it."""
        if response.HasField("start"):
            start = response.start
            self.model, self.seed = start.model, start.seed
            self.bundle_digest, self.execution_class = start.bundle_digest, start.execution_class
        if response.HasField("finish"):
            self.finish = pb.FinishReason.Name(response.finish.reason).removeprefix("FINISH_REASON_").lower()
            self.prompt_tokens = response.finish.prompt_tokens
            self.generated_tokens = response.finish.generated_tokens
        return Piece(response.text, list(response.token_ids), list(response.logprobs), response.position)


class Responses(Protocol):
    """A synchronous call that is under way."""

    def __iter__(self) -> Iterator[pb.GenerateResponse]: ...

    def cancel(self) -> bool:
        """Gives the call up."""


class Generation(Progress):
    """One text on its way; iterate for its pieces of text, or `pieces()` for more."""

    def __init__(self, call: Responses) -> None:
        super().__init__()
        self._call = call

    def pieces(self) -> Iterator[Piece]:
        """Yields the responses; raises RequestError if the server ends the text early."""
        try:
            for response in self._call:
                yield self.take(response)
        except grpc.RpcError as error:
            raise RequestError(error) from error

    def __iter__(self) -> Iterator[str]:
        return (piece.text for piece in self.pieces() if piece.text)

    def text(self) -> str:
        """Waits for the whole text."""
        return "".join(self)

    def cancel(self) -> None:
        """Tells the server that the rest is not wanted."""
        self._call.cancel()


class AsyncGeneration(Progress):
    """One text on its way, for `async for`."""

    def __init__(self, call: "grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateResponse]") -> None:
        super().__init__()
        self._call = call

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yields the responses; raises RequestError if the server ends the text early."""
        try:
            async for response in self._call:
                yield self.take(response)
        except grpc.aio.AioRpcError as error:
            raise RequestError(error) from error

    async def __aiter__(self) -> AsyncIterator[str]:
        async for piece in self.pieces():
            if piece.text:
                yield piece.text

    async def text(self) -> str:
        """Waits for the whole text."""
        return "".join([text async for text in self])

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
        logprobs: bool = False,
        token_ids: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> Generation:
        """Asks for one text.

        Args:
            prompt: read first, not repeated in the text.
            model: name of the model; may be empty on a server of one.
            logprobs: whether pieces hold log-probabilities.
            token_ids: whether pieces hold token ids.
            timeout: seconds until the server is to give up.
            options: the fields of `charloom.options.GenerateOptions`.
        """
        message = to_message(prompt, model, GenerateOptions(**options), logprobs, token_ids)
        return Generation(self._stub.Generate(message, timeout=timeout))

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
        logprobs: bool = False,
        token_ids: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> AsyncGeneration:
        """Asks for one text; the arguments are those of `Client.generate`."""
        message = to_message(prompt, model, GenerateOptions(**options), logprobs, token_ids)
        return AsyncGeneration(self._stub.Generate(message, timeout=timeout))

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


def to_message(
    prompt: str, model: str, options: GenerateOptions, logprobs: bool, token_ids: bool
) -> pb.GenerateRequest:
    """The request as it goes over the wire.

    Raises:
        InvalidRequestError: an option does not even fit the wire's types.
    """
    check(options)
    return pb.GenerateRequest(
        model=model,
        prompt=prompt,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        seed=options.seed,
        stop=options.stop,
        logprobs=logprobs,
        token_ids=token_ids,
        skip_unknown=options.skip_unknown,
    )


def to_info(model: pb.Model) -> ModelInfo:
    """A model's description, free of proto types."""
    return ModelInfo(**{field.name: getattr(model, field.name) for field in fields(ModelInfo)})

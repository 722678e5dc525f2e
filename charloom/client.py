"""The Python client, synchronous and asyncio.

    from charloom.client import Client

    with Client("127.0.0.1:50051") as client:
        for text in client.generate("ROMEO:", max_tokens=200, seed=1):
            print(text, end="", flush=True)

A generation yields its text as it arrives; it also knows its seed, and in the end how it ended.
Proto types stay behind this file.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import count, cycle, islice
from typing import Any, Self, TypeVar, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

import charloom.v1.charloom_pb2 as pb
from charloom.conversation import Conversation
from charloom.errors import CharloomError
from charloom.journal import Journal, Means
from charloom.message import to_message
from charloom.options import GenerateOptions, Violation
from charloom.retries import GONE, Retries, RetryConfig
from charloom.score import Score
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from charloom.watchdog import Patience, Watchdog

CHANNEL_OPTIONS = (
    # A pause between responses may be a busy server; only a connection that is gone ends a stream.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A name with several addresses is that of several replicas.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
STATE_INTERVAL = 4096
"""Tokens of a long text between two states that are asked for, so that what is replayed stays short."""
DETAILS = "grpc-status-details-bin"
T = TypeVar("T")


class RequestError(CharloomError):
    """The server refused a call or could not finish it.

    `code` is gRPC's status code, `violations` names the fields it complains of, and `retry_after`
    holds the seconds it asks to wait, if it does.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str | None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.violations = list(violations)
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: grpc.RpcError | grpc.aio.AioRpcError) -> Self:
        """The error of a call that failed."""
        call = cast(grpc.aio.AioRpcError, error)  # a synchronous call has the same methods
        violations: list[Violation] = []
        retry_after: float | None = None
        metadata = cast(Sequence[tuple[str, bytes]], call.trailing_metadata() or ())
        for detail in status_pb2.Status.FromString(dict(metadata).get(DETAILS, b"")).details:
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(bad):
                violations = [Violation(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        return cls(call.code(), call.details(), violations, retry_after)


def hung(patience: float) -> RequestError:
    """The error of a server that says nothing."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, f"nothing was heard of the server for {patience:g} s")


def ended_early() -> RequestError:
    """The error of a stream that ended without the end of its text."""
    return RequestError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the text")


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
    state: bytes = b""
    """A state token, if the response brought one ..."""
    state_position: int = 0
    """... and the position at which it was taken: that of the piece, or one within it."""


@dataclass
class Progress:
    """What a generation knows of itself."""

    model: str = ""
    bundle_digest: str = ""
    execution_class: str = ""
    seed: int | None = None
    """The seed in use, known once the first response is there; of the first text, of several."""
    exact: bool = True
    """False once a text went on where it is no longer sure to be that of an undisturbed stream."""
    endings: dict[int, Ending] = field(default_factory=dict)
    """Of the texts that are complete, by index."""
    states: dict[int, bytes] = field(default_factory=dict)
    """The newest state token of each text, by index, if they were asked for."""

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

    def take(self, response: pb.GenerateResponse, index: int, *, ids: bool = True) -> Piece:
        """Notes what a response for the text at `index` tells; gives the piece in it, with its ids or not."""
        if response.HasField("start"):
            start = response.start
            self.exact = self.exact and start.exact
            if self.seed is None:
                self.model, self.seed = start.model, start.seed
                self.bundle_digest, self.execution_class = start.bundle_digest, start.execution_class
        if response.HasField("finish"):
            finish = response.finish
            reason = pb.FinishReason.Name(finish.reason).removeprefix("FINISH_REASON_").lower()
            self.endings[index] = Ending(reason, finish.prompt_tokens, finish.generated_tokens)
        if response.HasField("state"):
            self.states[index] = response.state.token
        return Piece(
            text=response.text,
            token_ids=list(response.token_ids) if ids else [],
            logprobs=list(response.logprobs),
            alternatives=[
                [Alternative(a.token_id, a.text, a.logprob) for a in place.alternatives]
                for place in response.alternatives
            ],
            position=response.position,
            index=index,
            state=response.state.token,
            state_position=response.state.position,
        )


Start = Callable[[pb.GenerateRequest, float | None], Any]
"""Begins a call, with the seconds that it may take, on the next of a client's addresses."""


class Servers:
    """A client's servers, which take turns."""

    def __init__(self, channels: Sequence[grpc.Channel | grpc.aio.Channel]) -> None:
        self._stubs = [CharloomServiceStub(channel) for channel in channels]
        self._turn = count()

    def __len__(self) -> int:
        return len(self._stubs)

    def next(self) -> Any:
        """The one whose turn it is."""
        return self._stubs[next(self._turn) % len(self._stubs)]

    def round(self) -> Start:
        """Begins the calls of one text: on the next one, then on each of the others.

        The round is the text's own: were it shared, others could leave it nothing but the one that
        is gone, again and again.
        """
        first = next(self._turn) % len(self._stubs)
        stubs = islice(cycle(self._stubs), first, None)
        return lambda message, timeout: next(stubs).Generate(message, timeout=timeout)


class Attempts(Progress):
    """Texts that are asked for, and asked for again elsewhere where a call breaks off.

    What both kinds of generation have in common: what is still to be asked, what was heard, and when
    to try again.
    """

    def __init__(
        self,
        start: Start,
        message: pb.GenerateRequest,
        timeout: float | None,
        config: RetryConfig,
        addresses: int,
    ) -> None:
        super().__init__()
        self.n = message.n if message.HasField("n") else 1
        self.resumed = 0
        """How often a call broke off and another one was tried."""
        self.resumed_by_state = 0
        """How often a text went on from a state of its own; what came after the state was read again."""
        self.resumed_by_replay = 0
        """How often a text went on after all that had come of it was read again."""
        self._wants_ids = message.token_ids
        message.token_ids = True
        self._start = start
        self._ends_at = None if timeout is None else time.monotonic() + timeout
        self._journal = Journal(message)
        self._retries = Retries(config)
        self._untried = addresses - 1
        self._cancelled = False
        self._means: Means | None = None
        self._call = start(message, timeout)

    def cancel(self) -> None:
        """Tells the server that the rest is not wanted."""
        self._cancelled = True
        self._call.cancel()

    def _begin(self, index: int | None, message: pb.GenerateRequest) -> None:
        """Begins another call, unless it is the first, which was begun at once."""
        self._means = None if index is None else self._journal.pages[index].means
        if self.resumed or self._journal.start is not None or self._retries.failures:
            left = None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())
            self._call = self._start(message, left)

    def _hear(self, index: int | None, response: pb.GenerateResponse) -> Piece | None:
        """The piece in a response of a call for the text at `index`; None if it is but a heartbeat."""
        if not response.ByteSize():
            return None
        if response.HasField("start"):
            self.resumed_by_state += self._means == "state"
            self.resumed_by_replay += self._means == "replay"
        index = response.index if index is None else index
        self._journal.take(index, response)
        self._retries.progress()
        return self.take(response, index, ids=self._wants_ids)

    def _delay(self, error: RequestError) -> float:
        """Seconds until the next attempt; raises the error where there is to be none.

        Before anything was heard, each address is tried once.
        """
        if self._journal.start is None:
            self._untried -= 1
            if self._cancelled or self._untried < 0 or error.code not in GONE:
                raise error
            self._retries.failures += 1
            return 0.0
        if error.code == grpc.StatusCode.FAILED_PRECONDITION and self._journal.forget_states():
            return 0.0  # the state has expired, or its key is not known there; the tokens will do
        delay = None if self._cancelled else self._retries.delay(error.code, error.retry_after)
        if delay is None:
            raise error
        self.resumed += 1
        return delay


class Generation(Attempts):
    """Texts on their way; iterate for the pieces of a single one, or `pieces()` for more."""

    def pieces(self) -> Iterator[Piece]:
        """Yields the responses; raises RequestError if the text cannot be finished anywhere."""
        while to_ask := list(self._journal.remaining()):
            try:
                for index, message in to_ask:
                    yield from self._attempt(index, message)
                if any(self._journal.remaining()):
                    raise ended_early()
            except RequestError as error:
                time.sleep(self._delay(error))

    def _attempt(self, index: int | None, message: pb.GenerateRequest) -> Iterator[Piece]:
        """The pieces of one call."""
        self._begin(index, message)
        patience = self._retries.config.patience
        with Watchdog(self._call.cancel, patience) as dog:
            try:
                for response in self._call:
                    dog.feed()
                    if (piece := self._hear(index, response)) is not None:
                        yield piece
            except grpc.RpcError as error:
                raise hung(patience) if dog.barked else RequestError.of(error) from error

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


class AsyncGeneration(Attempts):
    """Texts on their way, for `async for`."""

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yields the responses; raises RequestError if the text cannot be finished anywhere."""
        while to_ask := list(self._journal.remaining()):
            try:
                for index, message in to_ask:
                    async for piece in self._attempt(index, message):
                        yield piece
                if any(self._journal.remaining()):
                    raise ended_early()
            except RequestError as error:
                await asyncio.sleep(self._delay(error))

    async def _attempt(self, index: int | None, message: pb.GenerateRequest) -> AsyncIterator[Piece]:
        """The pieces of one call."""
        self._begin(index, message)
        with Patience(self._call.cancel, self._retries.config.patience) as patience:
            try:
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    patience.renew()
                    if (piece := self._hear(index, response)) is not None:
                        yield piece
            except grpc.aio.AioRpcError as error:
                raise RequestError.of(error) from error
            except asyncio.CancelledError:
                if patience.lost:  # its call was cancelled, and not the task that reads
                    raise hung(patience.seconds) from None
                raise

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


class Client:
    """Talks to a server, or to several that serve the same; safe for several threads."""

    def __init__(self, address: str | Sequence[str], retries: RetryConfig = RetryConfig()) -> None:
        """Takes HOST:PORT, or several of it, among which calls take turns. Connects with the first call."""
        self._channels = [grpc.insecure_channel(one, options=CHANNEL_OPTIONS) for one in several(address)]
        self._servers = Servers(self._channels)
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
    ) -> Generation:
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
        return Generation(self._servers.round(), message, timeout, self._retries, len(self._servers))

    def resume(
        self,
        state: bytes,
        *,
        return_state: bool = False,
        token_ids: bool = False,
        timeout: float | None = None,
    ) -> Generation:
        """Goes on with the very text in the midst of which a state token was taken, as it was begun."""
        message = pb.GenerateRequest(state=state, resume=True, return_state=return_state, token_ids=token_ids)
        return Generation(self._servers.round(), message, timeout, self._retries, len(self._servers))

    def converse(self, *, model: str = "", state: bytes = b"", require_exact: bool = False) -> Conversation:
        """Begins a conversation: one stream, command by command; at a state, if one is given.

        It does not survive its server, but for the states in `Conversation.states`.

        Raises:
            RequestError: no server holds it.
        """
        opening = pb.Open(model=model, state=state, require_exact=require_exact)
        return self._ask(lambda stub: Conversation(stub.Converse, opening, RequestError.of))

    def score(
        self, texts: Sequence[str], *, prompt: str = "", model: str = "", skip_unknown: bool = False
    ) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        message = pb.ScoreRequest(
            texts=no_string(texts), prompt=prompt, model=model, skip_unknown=skip_unknown
        )
        scores = [Score() for _ in texts]
        for response in self._ask(lambda stub: list(stub.Score(message))):
            scores[response.index].add(response.token_ids, response.logprobs, response.text)
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


class AsyncClient:
    """Talks to servers from an asyncio event loop; made inside it. Its methods are those of `Client`."""

    def __init__(self, address: str | Sequence[str], retries: RetryConfig = RetryConfig()) -> None:
        """Takes HOST:PORT, or several of it, among which calls take turns. Connects with the first call."""
        self._channels = [grpc.aio.insecure_channel(one, options=CHANNEL_OPTIONS) for one in several(address)]
        self._servers = Servers(self._channels)
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
    ) -> AsyncGeneration:
        """Asks for a text, or several; the arguments are those of `Client.generate`."""
        message = to_message(prompt, GenerateOptions(**options), n, logprobs)
        shape(message, model, token_ids, state, return_state, state_interval, require_exact)
        return AsyncGeneration(self._servers.round(), message, timeout, self._retries, len(self._servers))

    def resume(
        self,
        state: bytes,
        *,
        return_state: bool = False,
        token_ids: bool = False,
        timeout: float | None = None,
    ) -> AsyncGeneration:
        """Goes on with the very text in the midst of which a state token was taken, as it was begun."""
        message = pb.GenerateRequest(state=state, resume=True, return_state=return_state, token_ids=token_ids)
        return AsyncGeneration(self._servers.round(), message, timeout, self._retries, len(self._servers))

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
            scores[response.index].add(response.token_ids, response.logprobs, response.text)
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


def several(address: str | Sequence[str]) -> list[str]:
    """One address or several as several; raises ValueError where there is none."""
    addresses = [address] if isinstance(address, str) else list(address)
    if not addresses or not all(addresses):
        raise ValueError(f"an address is HOST:PORT, and there must be one, not {address!r}")
    return addresses


def no_string(texts: Sequence[str]) -> Sequence[str]:
    """Texts; raises TypeError for a single one, which would be taken for its characters."""
    if isinstance(texts, str):
        raise TypeError("texts are a list: put a single one into [ ]")
    return texts


def shape(
    message: pb.GenerateRequest,
    model: str,
    token_ids: bool,
    state: bytes,
    return_state: bool,
    state_interval: int | None,
    require_exact: bool,
) -> None:
    """Says in a request for text what `generate` is told of all but the text."""
    message.model, message.token_ids, message.require_exact = model, token_ids, require_exact
    message.state, message.return_state = state, return_state
    message.state_interval = interval(message.max_tokens) if state_interval is None else state_interval


def interval(max_tokens: int) -> int:
    """Tokens between two states of a text of this length; 0 for a short one, which is replayed quickly."""
    return STATE_INTERVAL if max_tokens > STATE_INTERVAL else 0


def single(n: int) -> None:
    """Raises unless there is one text only, for those who would mix up several."""
    if n != 1:
        raise ValueError(f"there are {n} texts: take them with pieces() or texts()")


def to_info(model: pb.Model) -> ModelInfo:
    """A model's description, free of proto types."""
    return ModelInfo(**{field.name: getattr(model, field.name) for field in fields(ModelInfo)})

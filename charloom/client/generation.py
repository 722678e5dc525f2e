"""Generations: texts on their way from a server, synchronous and asyncio.

A generation yields its text as it arrives; it also knows its seed, and in the end how it ended. Where a
call breaks off it begins another; which server that goes to, and over which connection, it does not know.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import grpc
import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.client.journal import Journal, Means
from charloom.client.request_error import RequestError, ended_early, given_up, hung
from charloom.client.retries import GONE, Retries, RetryConfig
from charloom.client.servers import Start
from charloom.client.watchdog import Patience, Watchdog


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
            if self._cancelled:
                raise given_up()
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
                    if (piece := self._hear(index, response)) is not None:
                        dog.rest()  # who reads may take any time over a piece
                        yield piece
                    dog.feed()
            except grpc.RpcError as error:
                raise hung(patience) if dog.barked else RequestError.of(error) from error
            finally:
                self._call.cancel()  # who stops reading gives the place up; one that has ended stays as it is

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
        before = cancellations()
        with Patience(self._call.cancel, self._retries.config.patience) as patience:
            try:
                while (response := await self._call.read()) is not grpc.aio.EOF:
                    if (piece := self._hear(index, response)) is not None:
                        patience.rest()  # who reads may take any time over a piece
                        yield piece
                    patience.renew()
            except grpc.aio.AioRpcError as error:
                raise RequestError.of(error) from error
            except asyncio.CancelledError:
                if cancellations() > before:  # the task that reads is to end, whatever else came too
                    raise
                if patience.lost:  # its call was cancelled
                    raise hung(patience.seconds) from None
                if self._cancelled:
                    raise given_up() from None
                raise
            finally:
                self._call.cancel()  # as above

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


def cancellations() -> int:
    """How often the task that runs was asked to end; it may have gone on all the same."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def single(n: int) -> None:
    """Raises unless there is one text only, for those who would mix up several."""
    if n != 1:
        raise ValueError(f"there are {n} texts: take them with pieces() or texts()")

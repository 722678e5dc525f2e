"""Branches of a conversation: a stream each, and the commands that concern it alone.

Between two commands a branch is a snapshot; it takes a slot of the engine only while a command runs.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import MAX_ALTERNATIVES, InvalidRequestError, Violation, unless_between
from charloom.vocabulary import Tokens, no_tokens
from serving.engine.async_engine import UpdateReader
from serving.engine.history import History
from serving.engine.request import Request, encode
from serving.engine.update import Finish, Update
from serving.rpc import convert, state_token
from serving.rpc.convert import Text
from serving.rpc.encoding import EncodingThread
from serving.rpc.limits import RequestLimits
from serving.rpc.security.sealing import Sealer
from serving.rpc.state_token import DELIVERY_FIELDS

IMPLIED_FIELDS = DELIVERY_FIELDS - {"token_ids"} | {"n", "labels"}
"""Fields of a GenerateRequest that must be absent, since the conversation determines them."""


@dataclass(frozen=True)
class ConversationContext:
    """What all branches of a conversation share."""

    text: Text
    limits: RequestLimits
    sealer: Sealer
    encoding: EncodingThread
    caller: bytes | None = None
    """Owner of its state tokens."""


class Command:
    """A command that was received, and whether its generation is to be stopped."""

    def __init__(self, message: pb.ConverseRequest) -> None:
        self.message = message
        self.kind = message.WhichOneof("command")
        self.size = message.ByteSize()
        self.stopped = asyncio.Event()


@dataclass
class PartialText:
    """A text while it is generated: a history up to its newest snapshot, and the tokens after that."""

    end: int | None
    """The token that ends a record; None in a model whose texts have no end."""
    history: History
    tokens: list[Tokens]
    """Those after the history, [T] each."""
    generated: int = 0
    """Number of tokens that were generated."""
    begun: bool = False
    """Whether there was any update."""

    def add(self, update: Update) -> None:
        """Appends the tokens of an update, and extends the history by its snapshot."""
        self.begun = True
        self.generated += len(update.sampled)
        self.tokens.append(update.sampled.tokens)
        if update.finish is Finish.END:
            self.tokens.append(np.array([self.end]))
        if update.snapshot is not None:
            tokens = np.concatenate(self.tokens)
            known = update.snapshot.position - self.history.here.position
            self.history = self.history.extended(tokens[:known], [update.snapshot])
            self.tokens = [tokens[known:]]


class Branch:
    """One stream of a conversation."""

    def __init__(self, name: str, history: History, context: ConversationContext) -> None:
        self.name = name
        self.history = history
        self._context = context
        self._vocabulary = context.text.model.bundle.vocabulary
        self._delimiter = context.text.model.bundle.delimiter
        self._reader: UpdateReader | None = None
        """The reader of the request that runs."""

    def heartbeat(self, interval: float) -> None:
        """Has a generation send an empty event if it has sent none for `interval` seconds."""
        if self._reader is not None:
            self._reader.heartbeat(interval)

    def event(self, **event: Any) -> pb.ConverseResponse:
        """Returns an event of this branch at its position."""
        return pb.ConverseResponse(branch=self.name, position=self.history.here.position, **event)

    async def execute(self, command: Command) -> AsyncIterator[pb.ConverseResponse]:
        """Executes one command that concerns this branch alone, and yields its events.

        Raises:
            CharloomError: it cannot be executed.
        """
        message = command.message
        match command.kind:
            case "feed":
                yield self.event(fed=await self._feed(message.feed))
            case "generate":
                async for response in self._generate(message.generate, command.stopped):
                    yield self.event(generated=response)
            case "rewind":
                yield self.event(rewound=pb.Rewound(text=await self._rewind(message.rewind)))
            case "suggest":
                yield self.event(suggested=await self._suggest(message.suggest.count))
            case "save":
                yield self.event(saved=self.save())
            case other:
                raise InvalidRequestError([Violation("command", f"must not be {other or 'absent'} here")])

    def save(self) -> pb.State:
        """Returns a state token of its position."""
        here = self.history.here
        text = replace(self._context.text, message=pb.GenerateRequest())
        payload = state_token.save(text, Request(no_tokens(), 0, 0, origin=here), here)
        return pb.State(
            token=self._context.sealer.seal(payload, self._context.caller), position=here.position
        )

    async def _feed(self, message: pb.Feed) -> pb.Fed:
        """Reads a text of at most the length of a prompt, and then tokens."""
        if violations := list(self._unfit(message)):
            raise InvalidRequestError(violations)
        fed, added = await self._context.encoding.run(len(message.text), lambda: self._to_feed(message))
        await self._read(self.history, fed)
        return pb.Fed(text=None if added == message.text else added)

    def _to_feed(self, message: pb.Feed) -> tuple[Tokens, str]:
        """Returns the tokens [T] of a feed, and the text that they add."""
        encoded = encode("text", message.text, self._vocabulary, self._delimiter, skip=message.skip_unknown)
        fed = np.concatenate([encoded, np.array(message.token_ids, np.int64)])
        return fed, "".join(self._vocabulary.decoder(self.history.here.recent).put(fed))

    def _unfit(self, message: pb.Feed) -> Iterator[Violation]:
        """Yields what of a feed cannot be read."""
        limits = self._context.limits
        yield from limits.unless_short("text", message.text)
        most, size = limits.max_prompt, self._vocabulary.size
        if len(message.token_ids) > most:
            yield Violation("token_ids", f"must be at most {most} here, not {len(message.token_ids)}")
        elif max(message.token_ids, default=0) >= size:
            yield Violation("token_ids", f"holds ids that are none of the model's {size} tokens")

    async def _read(self, history: History, tokens: Tokens) -> None:
        """Reads tokens [T] that follow a history, which becomes this branch's."""
        for part in history.parts(tokens):
            update = await self._last(Request(part, 0, 0, origin=history.here, returns_state=True))
            assert update.snapshot is not None, "it was requested"
            history = history.extended(part, [update.snapshot])
        self.history = history

    async def _generate(
        self, message: pb.GenerateRequest, stopped: asyncio.Event
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates a text; however it ends, the branch is then after the last token that was sent."""
        request = await self._context.encoding.run(len(message.prompt), lambda: self._to_request(message))
        text = PartialText(self._vocabulary.end, self.history, [request.prompt])
        yield pb.GenerateResponse(start=convert.to_start(self._context.text, request.seed, request.notes))
        last: pb.GenerateResponse | None = None
        try:
            async for update in self._updates(request, stopped):
                if update is None:
                    yield pb.GenerateResponse()
                    continue
                text.add(update)
                response = convert.to_response(message, 0, update, self._vocabulary)
                if update.final:
                    last = response
                else:
                    yield response
        except CharloomError:
            await self._keep(text)
            raise
        await self._keep(text)
        yield last or pb.GenerateResponse(
            position=self.history.here.position,
            finish=pb.Finish(
                reason=pb.FINISH_REASON_CANCELLED,
                prompt_tokens=request.start,
                generated_tokens=text.generated,
            ),
        )

    async def _keep(self, text: PartialText) -> None:
        """Moves the branch to the end of a text; not at all if there was no update."""
        if text.begun:
            await self._read(text.history, np.concatenate(text.tokens))

    def _to_request(self, message: pb.GenerateRequest) -> Request:
        """Returns the engine's request for a text that follows the stream."""
        present = sorted(IMPLIED_FIELDS & {field.name for field, _ in message.ListFields()})
        if present:
            reason = "must be absent: the conversation says it"
            raise InvalidRequestError([Violation(name, reason) for name in present])
        request = convert.to_request(
            message, self._vocabulary, self._context.limits, self._delimiter, resumes=True
        )
        history = self.history
        return replace(request, origin=history.here, returns_state=True, state_interval=history.apart)

    async def _rewind(self, message: pb.Rewind) -> str:
        """Removes the newest tokens or characters and returns their text."""
        tail = self.history.tail(self._vocabulary)
        if message.HasField("characters"):
            field, count, known = "characters", message.characters, tail.characters
        else:
            field, count, known = "tokens", message.tokens, len(tail.tokens)
        if count > known:
            raise InvalidRequestError([Violation(field, f"must be at most {known} here, not {count}")])
        end = tail.last_characters(count) if field == "characters" else tail.last_tokens(count)
        history, to_read = self.history.back(end.tokens)
        again = encode(field, end.stays, self._vocabulary, skip=False)
        if "".join(tail.decoder(len(tail.tokens) - end.tokens).put(again)) != end.stays:
            reason = f"would leave {end.stays!r} of a token, which no tokens of the model make"
            raise InvalidRequestError([Violation(field, f"{reason}: go back by tokens")])
        await self._read(history, np.concatenate([to_read, again]))
        return end.goes

    async def _suggest(self, count: int) -> pb.Alternatives:
        """Returns the likeliest next tokens."""
        if violations := list(unless_between("count", [count], 1, MAX_ALTERNATIVES)):
            raise InvalidRequestError(violations)
        update = await self._last(Request(no_tokens(), 1, 0, logprobs=count, origin=self.history.here))
        (alternatives,) = convert.to_alternatives(update.sampled, self._vocabulary)
        return alternatives

    async def _last(self, request: Request) -> Update:
        """Runs a request for one token or none, and returns its last update."""
        updates = self._updates(request, asyncio.Event())
        *_, last = [update async for update in updates if update is not None]
        return last

    async def _updates(self, request: Request, stopped: asyncio.Event) -> AsyncIterator[Update | None]:
        """Runs a request until it ends or is stopped, and yields its updates; None at a heartbeat.

        Raises:
            ServingError: it failed.
        """
        reader = self._reader = self._context.text.model.engine.submit_texts(request, deadline=None)
        stop = asyncio.ensure_future(stopped.wait())
        try:
            while not stopped.is_set():
                following = asyncio.ensure_future(reader.next())
                try:
                    await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    following.cancel()  # unless it is done: `wait` does not cancel what it waited for
                if not following.done():
                    return
                if not following.result():
                    yield None
                for update in following.result():
                    if update.error is None or update.snapshot is not None or len(update.sampled):
                        yield replace(update, error=None)
                    if update.error is not None:
                        raise update.error
                    if update.final:
                        return
        finally:
            stop.cancel()
            reader.abort()
            self._reader = None


class Worker:
    """A branch and the queue of its commands."""

    def __init__(self, branch: Branch, queue_size: int) -> None:
        self.branch = branch
        self._queue: asyncio.Queue[Command] = asyncio.Queue(queue_size)
        self._unfinished: list[Command] = []

    async def put(self, command: Command) -> None:
        """Queues a command, as soon as there is room for it."""
        self._unfinished.append(command)
        await self._queue.put(command)

    def stop(self) -> None:
        """Stops the generations of all commands so far."""
        for command in self._unfinished:
            command.stopped.set()

    @property
    def busy(self) -> bool:
        """Whether any command is unfinished."""
        return bool(self._unfinished)

    async def join(self) -> None:
        """Waits until all commands are finished."""
        await self._queue.join()

    @asynccontextmanager
    async def next(self) -> AsyncIterator[Command]:
        """Waits for the next command, which is finished at the end of the context."""
        command = await self._queue.get()
        try:
            yield command
        finally:
            self._unfinished.remove(command)
            self._queue.task_done()

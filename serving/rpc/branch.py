"""Branches of a conversation: a stream each, and the commands that it is told.

A stream stands at a snapshot between two commands, and takes a slot of the engine only while one runs. It
knows the commands that concern one branch alone; other branches, and when it is whose turn, it does not.
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
from serving.engine.async_engine import AsyncEngine, Reader
from serving.engine.history import History
from serving.engine.request import Request, Update, encode
from serving.rpc import convert, state_token
from serving.rpc.convert import RequestLimits, Text
from serving.rpc.security.sealing import Sealer
from serving.rpc.state_token import BESIDE_RESUME

FOREIGN = BESIDE_RESUME - {"token_ids"} | {"n"}
"""Fields of a GenerateRequest that say what a conversation knows already."""


@dataclass(frozen=True)
class Place:
    """Where the branches of a conversation run."""

    text: Text
    engine: AsyncEngine
    limits: RequestLimits
    sealer: Sealer
    caller: bytes | None = None
    """Whose state tokens are."""


class Command:
    """A command that was received, and whether what it does is to be stopped."""

    def __init__(self, message: pb.ConverseRequest) -> None:
        self.message = message
        self.kind = message.WhichOneof("command")
        self.size = message.ByteSize()
        self.stopped = asyncio.Event()


@dataclass
class Unsettled:
    """A text while it is generated: until the last state that came of it, and from there."""

    history: History
    tokens: list[Tokens]
    """Those [T] after the history."""
    heard: int = 0
    """Tokens that were generated."""
    begun: bool = False
    """Whether anything came at all."""

    def add(self, update: Update) -> None:
        """Takes in what came, and keeps no more of it than a history does."""
        self.begun = True
        self.heard += len(update.choices)
        self.tokens.append(update.choices.tokens)
        if update.snapshot is not None:
            tokens = np.concatenate(self.tokens)
            known = update.snapshot.position - self.history.here.position
            self.history = self.history.extended(tokens[:known], [update.snapshot])
            self.tokens = [tokens[known:]]


class Branch:
    """One stream of a conversation."""

    def __init__(self, name: str, history: History, place: Place) -> None:
        self.name = name
        self.history = history
        self._place = place
        self._vocabulary = place.text.model.bundle.vocabulary
        self._reader: Reader | None = None
        """Of what runs."""

    def beat(self, silence: float) -> None:
        """Has a generation that has had no news for so many seconds say that it is alive."""
        if self._reader is not None:
            self._reader.poke(silence)

    def event(self, **event: Any) -> pb.ConverseResponse:
        """An event of this branch as it stands."""
        return pb.ConverseResponse(branch=self.name, position=self.history.here.position, **event)

    async def do(self, command: Command) -> AsyncIterator[pb.ConverseResponse]:
        """Does one command that concerns this branch alone, and gives its events.

        Raises:
            CharloomError: it cannot be done.
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
        """A state token of where it stands."""
        here = self.history.here
        text = replace(self._place.text, asked=pb.GenerateRequest())
        payload = state_token.save(text, Request(no_tokens(), 0, 0, origin=here), here)
        return pb.State(token=self._place.sealer.seal(payload, self._place.caller), position=here.position)

    async def _feed(self, message: pb.Feed) -> pb.Fed:
        """Reads a text of at most the length of a prompt, and then tokens."""
        if violations := list(self._unfit(message)):
            raise InvalidRequestError(violations)
        encoded = encode("text", message.text, self._vocabulary, skip=message.skip_unknown)
        fed = np.concatenate([encoded, np.array(message.token_ids, np.int64)])
        added = "".join(self._vocabulary.decoder(self.history.here.recent).put(fed))
        await self._read(self.history, fed)
        return pb.Fed(text=None if added == message.text else added)

    def _unfit(self, message: pb.Feed) -> Iterator[Violation]:
        """What of a feed cannot be read."""
        yield from self._place.limits.unless_short("text", message.text)
        most, size = self._place.limits.most_prompt, self._vocabulary.size
        if len(message.token_ids) > most:
            yield Violation("token_ids", f"must be at most {most} here, not {len(message.token_ids)}")
        elif max(message.token_ids, default=0) >= size:
            yield Violation("token_ids", f"holds ids that are none of the model's {size} tokens")

    async def _read(self, history: History, tokens: Tokens) -> None:
        """Stands after tokens [T] that follow a history."""
        for part in history.parts(tokens):
            update = await self._last(Request(part, 0, 0, origin=history.here, returns_state=True))
            assert update.snapshot is not None, "it was asked for"
            history = history.extended(part, [update.snapshot])
        self.history = history

    async def _generate(
        self, message: pb.GenerateRequest, stopped: asyncio.Event
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates a text. What of it was sent is part of the stream then, however it ends."""
        request = self._to_request(message)
        text = Unsettled(self.history, [request.prompt])
        yield convert.to_start(self._place.text, request)
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
            await self._settle(text)
            raise
        await self._settle(text)
        yield last or pb.GenerateResponse(
            position=self.history.here.position,
            finish=pb.Finish(
                reason=pb.FINISH_REASON_CANCELLED,
                prompt_tokens=request.start,
                generated_tokens=text.heard,
            ),
        )

    async def _settle(self, text: "Unsettled") -> None:
        """Stands after the tokens that were heard; where it was, if nothing was."""
        if text.begun:
            await self._read(text.history, np.concatenate(text.tokens))

    def _to_request(self, message: pb.GenerateRequest) -> Request:
        """What the engine is asked for a text that follows the stream."""
        foreign = sorted(FOREIGN & {field.name for field, _ in message.ListFields()})
        if foreign:
            reason = "must be absent: the conversation says it"
            raise InvalidRequestError([Violation(name, reason) for name in foreign])
        request = convert.to_request(message, self._vocabulary, self._place.limits)
        history = self.history
        return replace(request, origin=history.here, returns_state=True, state_interval=history.apart)

    async def _rewind(self, message: pb.Rewind) -> str:
        """Takes tokens or characters back and gives their text."""
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
        await self._read(history, np.concatenate([to_read, again]))
        return end.goes

    async def _suggest(self, count: int) -> pb.Alternatives:
        """The likeliest next tokens."""
        if violations := list(unless_between("count", [count], 1, MAX_ALTERNATIVES)):
            raise InvalidRequestError(violations)
        update = await self._last(Request(no_tokens(), 1, 0, logprobs=count, origin=self.history.here))
        (alternatives,) = convert.to_alternatives(update.choices, self._vocabulary)
        return alternatives

    async def _last(self, request: Request) -> Update:
        """The last update of a request for a single token, or none."""
        updates = self._updates(request, asyncio.Event())
        *_, last = [update async for update in updates if update is not None]
        return last

    async def _updates(self, request: Request, stopped: asyncio.Event) -> AsyncIterator[Update | None]:
        """Runs a request until it ends or is stopped, None where it was poked; raises what ends it early."""
        reader = self._reader = self._place.engine.open(request, deadline=None)
        stop = asyncio.ensure_future(stopped.wait())
        try:
            while not stopped.is_set():
                news = asyncio.ensure_future(reader.next())
                try:
                    await asyncio.wait({news, stop}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()  # unless it is done: `wait` leaves running what it waited for
                if not news.done():
                    return
                if not news.result():
                    yield None
                for update in news.result():
                    if update.error is None or update.snapshot is not None or len(update.choices):
                        yield replace(update, error=None)
                    if update.error is not None:
                        raise update.error
                    if update.final:
                        return
        finally:
            stop.cancel()
            reader.close()
            self._reader = None


class Worker:
    """A branch and the commands that wait for it."""

    def __init__(self, branch: Branch, most: int) -> None:
        self.branch = branch
        self._queue: asyncio.Queue[Command] = asyncio.Queue(most)
        self._undone: list[Command] = []

    async def put(self, command: Command) -> None:
        """Takes a command in, as soon as there is room for it."""
        self._undone.append(command)
        await self._queue.put(command)

    def stop(self) -> None:
        """Stops whatever was told to generate so far."""
        for command in self._undone:
            command.stopped.set()

    @property
    def told(self) -> bool:
        """Whether it has been told anything that is not done."""
        return bool(self._undone)

    async def done(self) -> None:
        """Waits until nothing is left to do."""
        await self._queue.join()

    @asynccontextmanager
    async def next(self) -> AsyncIterator[Command]:
        """The next command, while it is done."""
        command = await self._queue.get()
        try:
            yield command
        finally:
            self._undone.remove(command)
            self._queue.task_done()

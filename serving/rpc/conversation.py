"""Conversations: one call that holds a stream, and its forks, command by command.

A stream stands at a snapshot between two commands, and takes a slot of the engine only while one
runs. Commands of a branch are done in their order, branches side by side. It knows commands and
events; what a snapshot is and how tokens come about is the engine's.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError, require
from charloom.options import MAX_ALTERNATIVES, InvalidRequestError, Violation, unless_between
from charloom.vocabulary import Tokens, no_tokens
from serving.engine.async_engine import AsyncEngine
from serving.engine.history import History
from serving.engine.request import Request, Update, encode
from serving.engine.snapshot import Snapshot
from serving.errors import DrainingError
from serving.rpc import convert, state_token
from serving.rpc.continuation import BESIDE_RESUME
from serving.rpc.convert import RequestLimits, Text
from serving.rpc.sealing import Sealer
from serving.rpc.status import CODES

FOREIGN = BESIDE_RESUME - {"token_ids"} | {"n"}
"""Fields of a GenerateRequest that say what a conversation knows already."""
APART = 256
"""Tokens between two states of a history: what is read again, at the most, to go back."""
NAME = 64
"""Most characters of a branch's name."""


@dataclass(frozen=True)
class ConversationLimits:
    """What one conversation may hold."""

    most_branches: int = 16
    """Most branches of one conversation."""
    most_history: int = 10_000
    """Tokens that a branch of a conversation can be rewound by."""
    most_commands: int = 64
    """Commands of a branch that wait for those before them; more are left unread until then."""
    most_conversations: int = 1024
    """Conversations that are held at the same time."""

    def __post_init__(self) -> None:
        require(self.most_branches >= 1, "most-branches", "must be at least 1")
        require(self.most_history >= 0, "most-history", "must be 0 or more")
        require(self.most_commands >= 1, "most-commands", "must be at least 1")
        require(self.most_conversations >= 0, "most-conversations", "must be 0 or more")


@dataclass(frozen=True)
class Place:
    """Where a conversation runs."""

    text: Text
    engine: AsyncEngine
    limits: RequestLimits
    bounds: ConversationLimits
    sealer: Sealer
    caller: bytes | None = None
    """Whose state tokens are."""


class Command:
    """A command that was received, and whether what it does is to be stopped."""

    def __init__(self, message: pb.ConverseRequest) -> None:
        self.message = message
        self.kind = message.WhichOneof("command")
        self.stopped = asyncio.Event()


class Branch:
    """One stream of a conversation."""

    def __init__(self, name: str, history: History, place: Place) -> None:
        self.name = name
        self.history = history
        self._place = place
        self._vocabulary = place.text.model.bundle.vocabulary

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
                fed = encode("text", message.feed.text, self._vocabulary, skip=message.feed.skip_unknown)
                await self._read(self.history, fed)
                yield self.event(fed=pb.Fed())
            case "generate":
                async for response in self._generate(message.generate, command.stopped):
                    yield self.event(generated=response)
            case "rewind":
                taken = await self._rewind(message.rewind.tokens)
                yield self.event(rewound=pb.Rewound(text=taken))
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

    async def _read(self, history: History, tokens: Tokens) -> None:
        """Stands after tokens [T] that follow a history."""
        if len(tokens):
            update = await self._last(Request(tokens, 0, 0, origin=history.here, returns_state=True))
            assert update.snapshot is not None, "it was asked for"
            history = history.extended(tokens, [update.snapshot])
        self.history = history

    async def _generate(
        self, message: pb.GenerateRequest, stopped: asyncio.Event
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generates a text. What of it was sent is part of the stream then, however it ends."""
        request = self._to_request(message)
        begun, heard, snapshots = self.history, list[Tokens](), list[Snapshot]()
        yield convert.to_start(self._place.text, request)
        last: pb.GenerateResponse | None = None
        try:
            async for update in self._updates(request, stopped):
                heard.append(update.choices.tokens)
                snapshots += [update.snapshot] if update.snapshot is not None else []
                response = convert.to_response(message, 0, update, self._vocabulary)
                if update.final:
                    last = response
                else:
                    yield response
        except CharloomError:
            await self._settle(begun, request, heard, snapshots)
            raise
        await self._settle(begun, request, heard, snapshots)
        yield last or pb.GenerateResponse(
            position=self.history.here.position,
            finish=pb.Finish(
                reason=pb.FINISH_REASON_CANCELLED,
                prompt_tokens=request.start,
                generated_tokens=sum(map(len, heard)),
            ),
        )

    async def _settle(
        self, begun: History, request: Request, heard: list[Tokens], snapshots: list[Snapshot]
    ) -> None:
        """Stands after the tokens that were heard; where it was, if there was none."""
        if not heard:
            return
        tokens = np.concatenate([request.prompt, *heard])
        if snapshots:
            known = snapshots[-1].position - begun.here.position
            begun, tokens = begun.extended(tokens[:known], snapshots), tokens[known:]
        await self._read(begun, tokens)

    def _to_request(self, message: pb.GenerateRequest) -> Request:
        """What the engine is asked for a text that follows the stream."""
        foreign = sorted(FOREIGN & {field.name for field, _ in message.ListFields()})
        if foreign:
            reason = "must be absent: the conversation says it"
            raise InvalidRequestError([Violation(name, reason) for name in foreign])
        request = convert.to_request(message, self._vocabulary, self._place.limits)
        return replace(request, origin=self.history.here, returns_state=True, state_interval=APART)

    async def _rewind(self, count: int) -> str:
        """Takes tokens back and gives their text."""
        known = self.history.known
        if count > known:
            raise InvalidRequestError([Violation("tokens", f"must be at most {known} here, not {count}")])
        taken = self._vocabulary.decode(self.history.newest(count))
        await self._read(*self.history.back(count))
        return taken

    async def _suggest(self, count: int) -> pb.Alternatives:
        """The likeliest next tokens."""
        if violations := list(unless_between("count", [count], 1, MAX_ALTERNATIVES)):
            raise InvalidRequestError(violations)
        update = await self._last(Request(no_tokens(), 1, 0, logprobs=count, origin=self.history.here))
        (alternatives,) = convert.to_alternatives(update.choices, self._vocabulary)
        return alternatives

    async def _last(self, request: Request) -> Update:
        """The last update of a request for a single token, or none."""
        *_, last = [update async for update in self._updates(request, asyncio.Event())]
        return last

    async def _updates(self, request: Request, stopped: asyncio.Event) -> AsyncIterator[Update]:
        """Runs a request until it ends or is stopped; raises what ends it early."""
        reader = self._place.engine.open(request, deadline=None)
        stop = asyncio.ensure_future(stopped.wait())
        try:
            while not stopped.is_set():
                news = asyncio.ensure_future(reader.next())
                await asyncio.wait({news, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    news.cancel()
                    return
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


class Conversation:
    """The branches of one call, and the events of all of them."""

    def __init__(self, place: Place, origin: Snapshot) -> None:
        self._place = place
        self._workers: dict[str, Worker] = {}
        self._busy: set[Worker] = set()
        """Those of the branches there are, and of dropped ones that were told more before they were."""
        self._events: asyncio.Queue[pb.ConverseResponse | None] = asyncio.Queue(place.bounds.most_commands)
        self._ending: CharloomError | None = None
        self._broken: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._add(Branch("", History.of(origin, place.bounds.most_history), place))

    async def run(self, commands: AsyncIterator[pb.ConverseRequest]) -> AsyncIterator[pb.ConverseResponse]:
        """Does commands until there are no more, and gives the events.

        Raises:
            DrainingError: the server ends; the states of all branches came before.
        """
        start = convert.to_start(self._place.text, Request(no_tokens(), 0, 0)).start
        yield self._workers[""].branch.event(opened=start)
        self._spawn(self._take(commands))
        try:
            while (event := await self._events.get()) is not None:
                yield event
            if self._broken is not None:
                raise self._broken
            if self._ending is not None:
                for worker in self._workers.values():
                    yield worker.branch.event(saved=worker.branch.save())
                raise self._ending
        finally:
            for task in self._tasks:
                task.cancel()

    def hang_up(self) -> None:
        """Ends it as soon as what it was told is done, for a server that ends."""
        self._ending = DrainingError()
        self._spawn(self._finish())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Ends the call with a task that failed: nobody waits for events that will not come."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._broken = error
        for other in self._tasks:
            other.cancel()
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(None)

    def _add(self, branch: Branch) -> None:
        worker = self._workers[branch.name] = Worker(branch, self._place.bounds.most_commands)
        self._busy.add(worker)
        self._spawn(self._work(worker))

    async def _take(self, commands: AsyncIterator[pb.ConverseRequest]) -> None:
        """Hands each command to its branch, and ends with the last."""
        async for message in commands:
            if self._ending is not None:
                return
            worker = self._workers.get(message.branch)
            if worker is None:
                await self._events.put(failed(message.branch, 0, no_branch(message.branch)))
            elif message.HasField("stop"):
                worker.stop()
            else:
                await worker.put(Command(message))
        await self._finish()

    async def _finish(self) -> None:
        """Waits until all branches have done what they were told."""
        for worker in list(self._busy):
            await worker.done()
        await self._events.put(None)

    async def _work(self, worker: "Worker") -> None:
        """Does the commands of a branch, one after another."""
        while self._workers.get(worker.branch.name) is worker or worker.told:
            async with worker.next() as command:
                try:
                    async for event in self._do(worker, command):
                        await self._events.put(event)
                except CharloomError as error:
                    position = worker.branch.history.here.position
                    await self._events.put(failed(worker.branch.name, position, error))
        self._busy.discard(worker)

    async def _do(self, worker: "Worker", command: Command) -> AsyncIterator[pb.ConverseResponse]:
        """Does one command."""
        branch = worker.branch
        if self._workers.get(branch.name) is not worker:
            raise no_branch(branch.name)
        if command.kind == "fork":
            self._fork(branch, command.message.fork.name)
            yield branch.event(forked=pb.Forked(name=command.message.fork.name))
        elif command.kind == "drop":
            del self._workers[branch.name]
            yield branch.event(dropped=pb.Dropped())
        else:
            async for event in branch.do(command):
                yield event

    def _fork(self, branch: Branch, name: str) -> None:
        """Makes a branch that goes on alone from here."""
        most = self._place.bounds.most_branches
        if not 1 <= len(name) <= NAME:
            raise InvalidRequestError([Violation("name", f"must have 1 to {NAME} characters")])
        if name in self._workers:
            raise InvalidRequestError([Violation("name", f"is that of a branch already: {name!r}")])
        if len(self._workers) >= most:
            raise InvalidRequestError([Violation("fork", f"is one too many: there are {most} branches")])
        self._add(Branch(name, branch.history, self._place))


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


def no_branch(name: str) -> InvalidRequestError:
    """The error of a command for a branch that is none."""
    return InvalidRequestError([Violation("branch", f"is none that there is: {name[:NAME]!r}")])


def failed(branch: str, position: int, error: CharloomError) -> pb.ConverseResponse:
    """The event of a command that could not be done."""
    failure = pb.Failure(code=CODES[type(error)], message=str(error))
    return pb.ConverseResponse(branch=branch, position=position, failed=failure)

"""Conversations: one call that holds a stream, and its forks, command by command.

Commands of a branch are done in their order, branches side by side. It knows commands and events, and
which branches there are; what a command does to one is the branch's.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import no_tokens
from serving.engine.history import History
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.errors import DrainingError
from serving.rpc import convert
from serving.rpc.branch import Branch, Command, Place, Worker
from serving.rpc.limits import ConversationLimits
from serving.rpc.status import CODES

NAME = 64
"""Most characters of a branch's name."""
MOST_WAITING = 2**23
"""Bytes of the commands of all branches that wait or are being done; more are left unread until then."""
APART = 256
"""Tokens between two states of a branch: of a large model they take far more than the tokens."""


class Conversation:
    """The branches of one call, and the events of all of them."""

    def __init__(self, place: Place, bounds: ConversationLimits, origin: Snapshot) -> None:
        self._place = place
        self._bounds = bounds
        self._workers: dict[str, Worker] = {}
        self._busy: set[Worker] = set()
        """Those of the branches there are, and of dropped ones that were told more before they were."""
        self._events: asyncio.Queue[pb.ConverseResponse | None] = asyncio.Queue(bounds.max_commands)
        self._ending: CharloomError | None = None
        self._broken: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        """Bytes of the commands that are not done."""
        self._less = asyncio.Event()
        """Set where some of them are."""
        self._add(Branch("", History.of(origin, bounds.max_history, APART), place))

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

    def beat(self, silence: float) -> None:
        """Has every generation that has had no news for so many seconds say that it is alive."""
        for worker in self._busy:
            worker.branch.beat(silence)

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
        worker = self._workers[branch.name] = Worker(branch, self._bounds.max_commands)
        self._busy.add(worker)
        self._spawn(self._work(worker))

    async def _take(self, commands: AsyncIterator[pb.ConverseRequest]) -> None:
        """Hands each command to its branch, and ends with the last."""
        async for message in commands:
            await self._room(message.ByteSize())
            if self._ending is not None:
                return
            worker = self._workers.get(message.branch)
            if worker is None:
                await self._events.put(failed(message.branch, 0, no_branch(message.branch)))
            elif message.HasField("stop"):
                worker.stop()
            else:
                command = Command(message)
                self._waiting += command.size
                await worker.put(command)
        await self._finish()

    async def _room(self, size: int) -> None:
        """Waits until a command of so many bytes may wait too."""
        while self._waiting and self._waiting + size > MOST_WAITING:
            self._less.clear()
            await self._less.wait()

    async def _finish(self) -> None:
        """Waits until all branches have done what they were told."""
        for worker in list(self._busy):
            await worker.done()
        await self._events.put(None)

    async def _work(self, worker: Worker) -> None:
        """Does the commands of a branch, one after another."""
        while self._workers.get(worker.branch.name) is worker or worker.told:
            async with worker.next() as command:
                try:
                    async for event in self._do(worker, command):
                        await self._events.put(event)
                except CharloomError as error:
                    position = worker.branch.history.here.position
                    await self._events.put(failed(worker.branch.name, position, error))
                finally:
                    self._waiting -= command.size
                    self._less.set()
        self._busy.discard(worker)

    async def _do(self, worker: Worker, command: Command) -> AsyncIterator[pb.ConverseResponse]:
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
        most = self._bounds.max_branches
        if not 1 <= len(name) <= NAME:
            raise InvalidRequestError([Violation("name", f"must have 1 to {NAME} characters")])
        if name in self._workers:
            raise InvalidRequestError([Violation("name", f"is that of a branch already: {name!r}")])
        if len(self._workers) >= most:
            raise InvalidRequestError([Violation("fork", f"is one too many: there are {most} branches")])
        self._add(Branch(name, branch.history, self._place))


def no_branch(name: str) -> InvalidRequestError:
    """The error of a command for a branch that is none."""
    return InvalidRequestError([Violation("branch", f"is none that there is: {name[:NAME]!r}")])


def failed(branch: str, position: int, error: CharloomError) -> pb.ConverseResponse:
    """The event of a command that could not be done."""
    failure = pb.Failure(code=CODES[type(error)], message=str(error))
    return pb.ConverseResponse(branch=branch, position=position, failed=failure)

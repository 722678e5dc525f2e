"""Conversations: one call that holds a stream, and its forks, command by command.

The commands of a branch are executed in their order, those of different branches concurrently.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import charloom.v1.charloom_pb2 as pb
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from serving.engine.history import History
from serving.engine.snapshot import Snapshot
from serving.errors import DrainingError
from serving.rpc import convert
from serving.rpc.branch import Branch, Command, ConversationContext, Worker
from serving.rpc.limits import ConversationLimits
from serving.rpc.status import CODES

MAX_NAME = 64
"""Most characters of a branch's name."""
MAX_UNFINISHED = 2**23
"""Bytes of the unfinished commands of all branches beyond which no more are read from the client."""
SNAPSHOT_INTERVAL = 256
"""Tokens between two snapshots of a branch: those of a large model take far more memory than the tokens."""


class ConversationCall:
    """The branches of one call, and the events of all of them."""

    def __init__(self, context: ConversationContext, limits: ConversationLimits, origin: Snapshot) -> None:
        self._context = context
        self._limits = limits
        self._workers: dict[str, Worker] = {}
        self._busy: set[Worker] = set()
        """The workers of all branches, and of dropped ones that have unfinished commands."""
        self._events: asyncio.Queue[pb.ConverseResponse | None] = asyncio.Queue(limits.max_commands)
        self._draining: CharloomError | None = None
        """The error to end with once all commands are finished, if the server shuts down."""
        self._defect: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unfinished = 0
        """Bytes of the commands that are not finished."""
        self._finished = asyncio.Event()
        """Set when one of them is."""
        self._add(Branch("", History.of(origin, limits.max_history, SNAPSHOT_INTERVAL), context))

    async def run(self, commands: AsyncIterator[pb.ConverseRequest]) -> AsyncIterator[pb.ConverseResponse]:
        """Executes commands until there are no more, and yields their events.

        Raises:
            DrainingError: the server shuts down; the states of all branches were yielded before.
        """
        start = convert.to_start(self._context.text, seed=0)
        yield self._workers[""].branch.event(opened=start)
        self._spawn(self._take(commands))
        try:
            while (event := await self._events.get()) is not None:
                yield event
            if self._defect is not None:
                raise self._defect
            if self._draining is not None:
                for worker in self._workers.values():
                    yield worker.branch.event(saved=worker.branch.save())
                raise self._draining
        finally:
            for task in self._tasks:
                task.cancel()

    def heartbeat(self, interval: float) -> None:
        """Has each generation send an empty event if it has sent none for `interval` seconds."""
        for worker in self._busy:
            worker.branch.heartbeat(interval)

    def drain(self) -> None:
        """Ends the conversation as soon as its commands are finished, for a server that shuts down."""
        self._draining = DrainingError()
        self._spawn(self._finish())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """Ends the call if a task failed, whose events will not come."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._defect = error
        for other in self._tasks:
            other.cancel()
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(None)

    def _add(self, branch: Branch) -> None:
        worker = self._workers[branch.name] = Worker(branch, self._limits.max_commands)
        self._busy.add(worker)
        self._spawn(self._work(worker))

    async def _take(self, commands: AsyncIterator[pb.ConverseRequest]) -> None:
        """Queues each command at its branch, and finishes after the last."""
        async for message in commands:
            await self._wait_for_room(message.ByteSize())
            if self._draining is not None:
                return
            worker = self._workers.get(message.branch)
            if worker is None:
                await self._events.put(failed(message.branch, 0, no_branch(message.branch)))
            elif message.HasField("stop"):
                worker.stop()
            else:
                command = Command(message)
                self._unfinished += command.size
                await worker.put(command)
        await self._finish()

    async def _wait_for_room(self, size: int) -> None:
        """Waits until a command of so many bytes may be queued."""
        while self._unfinished and self._unfinished + size > MAX_UNFINISHED:
            self._finished.clear()
            await self._finished.wait()

    async def _finish(self) -> None:
        """Waits until the commands of all branches are finished."""
        for worker in list(self._busy):
            await worker.join()
        await self._events.put(None)

    async def _work(self, worker: Worker) -> None:
        """Executes the commands of a branch, one after another."""
        while self._workers.get(worker.branch.name) is worker or worker.busy:
            async with worker.next() as command:
                try:
                    async for event in self._execute(worker, command):
                        await self._events.put(event)
                except CharloomError as error:
                    position = worker.branch.history.here.position
                    await self._events.put(failed(worker.branch.name, position, error))
                finally:
                    self._unfinished -= command.size
                    self._finished.set()
        self._busy.discard(worker)

    async def _execute(self, worker: Worker, command: Command) -> AsyncIterator[pb.ConverseResponse]:
        """Executes one command, and yields its events."""
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
            async for event in branch.execute(command):
                yield event

    def _fork(self, branch: Branch, name: str) -> None:
        """Adds a branch that starts where this one is."""
        most = self._limits.max_branches
        if not 1 <= len(name) <= MAX_NAME:
            raise InvalidRequestError([Violation("name", f"must have 1 to {MAX_NAME} characters")])
        if name in self._workers:
            raise InvalidRequestError([Violation("name", f"is that of a branch already: {name!r}")])
        if len(self._workers) >= most:
            raise InvalidRequestError([Violation("fork", f"is one too many: there are {most} branches")])
        self._add(Branch(name, branch.history, self._context))


def no_branch(name: str) -> InvalidRequestError:
    """Makes the error of a command for an unknown branch."""
    return InvalidRequestError([Violation("branch", f"is none that there is: {name[:MAX_NAME]!r}")])


def failed(branch: str, position: int, error: CharloomError) -> pb.ConverseResponse:
    """Returns the event of a command that failed."""
    failure = pb.Failure(code=CODES[type(error)], message=str(error))
    return pb.ConverseResponse(branch=branch, position=position, failed=failure)

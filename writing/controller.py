"""Does what keys ask for, one thing after another, in a thread of its own.

The calls of a session block, and a screen must not. What there is to see goes to `show`, which is called in
that thread.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from charloom.errors import CharloomError
from writing.document import named, state_path, store
from writing.keys import Action
from writing.writer import STOP_PATTERNS, GoneError, RefusedError, View, Writer

Show = Callable[[View, str | None], None]
"""Shows a text and, unless the one before is still true, a status line."""
GONE = "the server is gone; your text is kept: ^R reconnects, ^S saves"


@dataclass(frozen=True)
class WritingJob:
    """Something to do, and whether it is to stop."""

    action: Action
    argument: str = ""
    stopped: Event = field(default_factory=Event)


class Controller:
    """Takes jobs from the screen, and shows what came of them."""

    def __init__(self, writer: Writer, show: Show, broken: Callable[[Exception], None]) -> None:
        """`broken` is called with an unexpected error, after which nothing is done any more."""
        self._writer, self._show, self._broken = writer, show, broken
        self._jobs: SimpleQueue[WritingJob | None] = SimpleQueue()
        self._writing: WritingJob | None = None
        self._closed = False
        self._thread = Thread(target=self._work, name="controller", daemon=True)
        self._thread.start()

    @property
    def writing(self) -> bool:
        """Whether the model writes, or is about to."""
        return self._writing is not None and not self._writing.stopped.is_set()

    def do(self, action: Action, argument: str = "") -> None:
        """Does something as soon as all before it is done; stops the model."""
        self.stop()
        job = WritingJob(action, argument)
        if action in STOP_PATTERNS:
            self._writing = job
        self._jobs.put(job)

    def stop(self) -> None:
        """Has the model stop."""
        if self._writing is not None:
            self._writing.stopped.set()

    def close(self) -> None:
        """Ends it, in the midst of whatever it does."""
        self._closed = True
        self.stop()
        self._jobs.put(None)
        self._writer.close()
        self._thread.join(5)

    def _work(self) -> None:
        try:
            self._look_ahead("")
            while (job := self._jobs.get()) is not None and not self._closed:
                self._look_ahead(self._done(job))
        except Exception as error:
            if not self._closed:
                self._broken(error)

    def _done(self, job: WritingJob) -> str:
        """Does a job; gives the status line."""
        status = ""
        try:
            for status in self._steps(job):
                self._show(self._writer.view, status)
        except GoneError as error:
            status = f"{GONE} ({error})"
        except CharloomError as error:
            status = str(error)
        job.stopped.set()
        return status

    def _look_ahead(self, status: str) -> None:
        """Shows what may come next, unless it is about to change."""
        if self._jobs.empty() and not self._writer.view.gone:
            try:
                self._writer.look_ahead()
            except GoneError as error:
                status = f"{GONE} ({error})"
            except RefusedError as error:
                status = str(error)
        self._show(self._writer.view, status)

    def _steps(self, job: WritingJob) -> Iterator[str]:
        """Does a job, and gives status lines as it goes."""
        writer = self._writer
        match job.action:
            case "go" | "line" | "sentence":
                for _ in writer.write_on(STOP_PATTERNS[job.action], job.stopped):
                    yield "the model writes; Tab stops it"
                yield ""
            case "type":
                writer.type(job.argument)
            case "pick":
                writer.pick(int(job.argument))
            case "undo":
                writer.undo()
            case "redo":
                writer.redo()
            case "erase":
                writer.erase()
            case "fork":
                kept = writer.view.current
                writer.fork(job.argument)
                yield f"{kept!r} stays as it is; this is {job.argument!r}"
            case "versions":
                writer.switch(job.argument)
            case "save":
                yield self._save(named(job.argument))
            case "reconnect":
                yield "connecting ..."
                writer.reconnect()
                yield "connected; the model has read your text again"

    def _save(self, path: Path) -> str:
        """Keeps the text and, if there is a server, its state; gives the status line."""
        store(path, self._writer.text.encode("utf-8"))
        self._writer.saved()
        with suppress(GoneError, RefusedError):
            state = self._writer.state()
            store(state_path(path), state)
            return f"saved {path}; --state {state_path(path)} goes on with it"
        return f"saved {path}, without a state: the server gave none"

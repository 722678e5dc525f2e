"""A conversation with a server: one stream that is fed, generates, is rewound, forked and saved.

    with Client("127.0.0.1:50051").converse() as conversation:
        conversation.feed("Once upon a time ")
        for piece in conversation.generate(max_tokens=100):
            print(piece, end="")
        conversation.rewind(10)
        print(conversation.suggest(5))

Between commands the server holds the state of each branch, and nothing else.
"""

import contextlib
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from threading import Lock, Thread
from typing import Any, Self

import grpc

import charloom.v1.charloom_pb2 as pb
from charloom.client.message import to_message
from charloom.client.piece import Alternative
from charloom.client.request_error import RequestError
from charloom.errors import CharloomError
from charloom.options import GenerateOptions

Events = queue.SimpleQueue["pb.ConverseResponse | Exception"]


class CommandError(CharloomError):
    """A command failed, and the conversation goes on; `code` is gRPC's status code."""

    def __init__(self, failure: pb.Failure) -> None:
        self.code = next(code for code in grpc.StatusCode if code.value[0] == failure.code)
        super().__init__(f"{self.code.name}: {failure.message}")


class BusyError(CharloomError):
    """A text is being generated on the branch."""

    def __init__(self, branch: str) -> None:
        where = f"branch {branch!r}" if branch else "the conversation"
        super().__init__(f"{where} is generating a text: read it to its end, close its iterator, or stop it")


class Conversation:
    """An open conversation; different threads may use different branches."""

    def __init__(self, start: Callable[[Iterator[pb.ConverseRequest]], Any], opening: pb.Open) -> None:
        """Opens it; raises RequestError if the server refuses."""
        self._sent: queue.SimpleQueue[pb.ConverseRequest | None] = queue.SimpleQueue()
        self._events_of: dict[str, Events] = {}
        self._abandoned: Counter[str] = Counter()
        """Number of answers on each branch that nobody waits for any more, since Ctrl-C ended the wait."""
        self._generating: set[str] = set()
        self._lock = Lock()
        self.states: dict[str, bytes] = {}
        """The newest state token of each branch; a server that drains sends one of every branch."""
        self.position = 0
        """Tokens of the branch that the last event was for."""
        self._send("", open=opening)
        self._over: Exception | None = None
        self._call = start(iter(self._sent.get, None))
        Thread(target=self._listen, name="conversation", daemon=True).start()
        try:
            opened = self._wait("", "opened").opened
        except BaseException:
            self.close()  # otherwise gRPC's thread would wait for commands for ever
            raise
        self.model, self.exact = opened.model, opened.exact
        self.bundle_digest, self.execution_class = opened.bundle_digest, opened.execution_class

    def feed(
        self, text: str = "", *, token_ids: Sequence[int] = (), branch: str = "", skip_unknown: bool = False
    ) -> str:
        """Feeds a text and then tokens to the model; gives what they add to the text of the stream."""
        message = pb.Feed(text=text, skip_unknown=skip_unknown, token_ids=token_ids)
        fed = self._command(branch, "fed", feed=message).fed
        return fed.text if fed.HasField("text") else text

    def generate(self, prompt: str = "", *, branch: str = "", **options: Any) -> Iterator[str]:
        """Feeds a prompt, generates a text and yields its pieces; begins with the first `next`.

        The options are the fields of `charloom.options.GenerateOptions`. Leaving the loop early stops the
        generation; what was generated until then is part of the stream.
        """
        message = to_message(prompt, GenerateOptions(**options))
        message.ClearField("n")  # a branch has one text at a time
        self._send(branch, generate=message)
        self._generating.add(branch)
        ended = False
        try:
            while not ended:
                response = self._wait(branch, "generated").generated
                ended = response.HasField("finish")
                if response.text:
                    yield response.text
        except CharloomError:
            ended = True
            raise
        finally:
            try:
                if not ended:
                    self._stop(branch)
            finally:
                self._generating.discard(branch)

    def stop(self, *, branch: str = "") -> None:
        """Stops the running generation, which finishes as cancelled; may be called from any thread."""
        self._send(branch, stop=pb.Stop())

    def rewind(self, tokens: int = 0, *, characters: int | None = None, branch: str = "") -> str:
        """Takes back the last tokens, or instead the last characters; gives the text that was taken back.

        Of a token with characters that stay, those are read again. With 0 characters only what is unfinished
        goes, of a character that takes several tokens.
        """
        rewind = pb.Rewind(tokens=tokens, characters=characters)
        return self._command(branch, "rewound", rewind=rewind).rewound.text

    def suggest(self, count: int = 10, *, branch: str = "") -> list[Alternative]:
        """The most likely next tokens, the most likely first."""
        suggested = self._command(branch, "suggested", suggest=pb.Suggest(count=count)).suggested
        return [Alternative(a.token_id, a.text, a.logprob) for a in suggested.alternatives]

    def fork(self, name: str, *, branch: str = "") -> None:
        """Makes a new branch that begins where this one stands."""
        self._command(branch, "forked", fork=pb.Fork(name=name))

    def drop(self, branch: str) -> None:
        """Drops a branch."""
        self._command(branch, "dropped", drop=pb.Drop())

    def save(self, *, branch: str = "") -> bytes:
        """A state token of the branch as it stands."""
        return self._command(branch, "saved", save=pb.Save()).saved.token

    def close(self) -> None:
        """Ends the conversation."""
        self._sent.put(None)
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, branch: str, **command: Any) -> None:
        """Sends a command; raises BusyError while a generation runs on the branch."""
        if branch in self._generating and "stop" not in command:
            raise BusyError(branch)
        self._sent.put(pb.ConverseRequest(branch=branch, **command))

    def _command(self, branch: str, kind: str, **command: Any) -> pb.ConverseResponse:
        """Sends a command that has one answer, of this kind, and waits for it."""
        self._send(branch, **command)
        with self._abandonable(branch):
            return self._wait(branch, kind)

    def _stop(self, branch: str) -> None:
        """Stops the generation of a branch, and waits for its end."""
        with contextlib.suppress(CharloomError, ConnectionError), self._abandonable(branch):  # it may be over
            self._send(branch, stop=pb.Stop())
            while not self._wait(branch, "generated").generated.HasField("finish"):
                pass

    @contextlib.contextmanager
    def _abandonable(self, branch: str) -> Iterator[None]:
        """Counts the awaited answer as abandoned if the wait is interrupted, so that it is skipped later."""
        try:
            yield
        except (CharloomError, ConnectionError):
            raise
        except BaseException:
            self._abandoned[branch] += 1
            raise

    def _events(self, branch: str) -> Events:
        with self._lock:
            events = self._events_of.setdefault(branch, queue.SimpleQueue())
            if self._over is not None:
                events.put(self._over)
            return events

    def _wait(self, branch: str, kind: str) -> pb.ConverseResponse:
        """The answer of this kind to the last command of a branch; raises its error, if it failed."""
        while True:
            event = self._events(branch).get()
            if isinstance(event, Exception):
                raise event
            self.position = event.position
            if self._abandoned[branch]:
                self._abandoned[branch] -= not event.HasField("generated") or event.generated.HasField(
                    "finish"
                )
                continue
            if event.HasField("failed"):
                raise CommandError(event.failed)
            # A server that drains sends states that were not requested.
            if event.WhichOneof("event") == kind:
                return event

    def _listen(self) -> None:
        """Sorts events by branch until the call ends; the target of a thread."""
        over: Exception = ConnectionError("the conversation is over")
        try:
            for event in self._call:
                if event.HasField("saved"):
                    self.states[event.branch] = event.saved.token
                self._events(event.branch).put(event)
        except grpc.RpcError as error:
            over = RequestError.of(error)
        with self._lock:
            self._over = over
            for events in self._events_of.values():
                events.put(over)

"""The connection to a server: a conversation with it as the writer needs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from charloom.client import Client, RequestError
from charloom.client.conversation import CommandError
from charloom.connection import Connection
from charloom.options import GenerateOptions
from writing.writer import BEGINNING, GoneError, RefusedError, Suggestion

PORTION = 4
"""Tokens that are generated at once: few, so that the model stops where it is told to."""
ADVICE = "; set skip_unknown"
"""Begins the part of an answer that is for programs."""


class ServerSession:
    """A conversation by a connection of its own."""

    def __init__(
        self,
        address: str,
        model: str,
        state: bytes,
        options: GenerateOptions,
        connection: Connection = Connection(),
    ) -> None:
        """Opens it, at a state if there is one.

        Raises:
            RefusedError: the server is there, but does not begin so.
            GoneError: it is not.
        """
        self._client = Client(address, tls=connection.encryption, token=connection.bearer)
        try:
            self._talk = self._client.converse(model=model, state=state)
        except RequestError as error:
            self._client.close()
            gone = error.code.name == "UNAVAILABLE"
            raise (GoneError if gone else RefusedError)(str(error)) from error
        self.position = self._talk.position
        """Tokens before the beginning."""
        turns = len(options.temperature)  # each portion begins with the first of several
        self._options = vars(options) | {"max_tokens": max(1, PORTION // turns) * turns}

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._talk.model

    def feed(self, text: str, branch: str = BEGINNING) -> str:
        """Has the model read a text; gives what that adds to the text of the branch."""
        with told():
            return self._talk.feed(text, branch=branch)

    def choose(self, token: int, branch: str) -> str:
        """Has the model read a token; gives what that adds to the text of the branch."""
        with told():
            return self._talk.feed(token_ids=[token], branch=branch)

    def generate(self, seed: int, branch: str) -> str:
        """Has the model write a few tokens; gives the text that they complete."""
        with told():
            return "".join(self._talk.generate(branch=branch, **self._options | {"seed": seed}))

    def rewind(self, characters: int, branch: str) -> None:
        """Takes characters back, and what is unfinished after them."""
        with told():
            self._talk.rewind(characters=characters, branch=branch)

    def suggest(self, count: int, branch: str) -> list[Suggestion]:
        """The likeliest next tokens."""
        with told():
            found = self._talk.suggest(count, branch=branch)
        return [Suggestion(one.token_id, one.text, one.logprob) for one in found]

    def fork(self, name: str, branch: str) -> None:
        """Makes a branch that goes on alone from here."""
        with told():
            self._talk.fork(name, branch=branch)

    def drop(self, branch: str) -> None:
        """Drops a branch."""
        with told():
            self._talk.drop(branch)

    def save(self, branch: str) -> bytes:
        """A state token."""
        with told():
            return self._talk.save(branch=branch)

    def close(self) -> None:
        """Ends it, also while another thread waits for it."""
        self._talk.close()
        self._client.close()


def begin(
    address: str,
    model: str,
    state: bytes,
    before: str,
    options: GenerateOptions,
    connection: Connection = Connection(),
) -> ServerSession:
    """A session with a server, at a state; where that is refused, after its text, if it is known."""
    try:
        return ServerSession(address, model, state, options, connection)
    except RefusedError:
        if not before:
            raise
    session = ServerSession(address, model, b"", options, connection)
    session.feed(before)
    return session


@contextmanager
def told() -> Iterator[None]:
    """Turns the errors of a conversation into those of writing."""
    try:
        yield
    except CommandError as error:
        raise RefusedError(str(error).partition(ADVICE)[0]) from error
    except (RequestError, ConnectionError) as error:
        raise GoneError(str(error)) from error

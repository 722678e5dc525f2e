"""The `write` command: a model and a person write a text together, in a terminal."""

import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from charloom.connection import Connection
from charloom.errors import CharloomError, ConfigError, require
from charloom.flags import Flags
from charloom.options import Count, Stops, StopTokens, check, choose_seed
from writing.app import SIGNALS, WriteApp
from writing.document import load
from writing.keys import DIGITS
from writing.own_server import OwnServer
from writing.session import ServerSession
from writing.writer import RefusedError, Writer

Unasked = Parameter(parse=False)
"""Says when a text ends, which is for the keys to say."""


@dataclass(frozen=True)
class WritingFlags(Flags):
    """The options of a text that has no end of its own."""

    max_tokens: Annotated[Count, Unasked] = Flags.max_tokens
    min_tokens: Annotated[Count, Unasked] = 0
    stop: Annotated[Stops, Unasked] = ()
    stop_tokens: Annotated[StopTokens, Unasked] = ()
    skip_unknown: Annotated[bool, Unasked] = False


class TerminalError(CharloomError):
    """There is no terminal to write in."""


def write(
    *,
    address: str | None = None,
    connection: Annotated[Connection, Parameter(name="*")] = Connection(),
    bundle: Path | None = None,
    model: str = "",
    state: Path | None = None,
    suggestions: Annotated[int, Parameter(name=["--suggestions", "-n"])] = 9,
    options: Annotated[WritingFlags, Parameter(name="*")] = WritingFlags(),
) -> None:
    """Write with a model: your words and its words, in turns.

    Parameters
    ----------
    address
        HOST:PORT of a server.
    bundle
        Directory of a bundle, for a server of one's own that ends with the writing.
    model
        Name of the model, on a server of several.
    state
        A file that was saved while writing, to go on from; its text is shown if it lies beside it.
    suggestions
        How many of the likeliest next tokens are shown (1 to 10).
    """
    if (address is None) == (bundle is None):
        raise ConfigError("address and bundle", "exclude each other, and one is needed")
    require(1 <= suggestions <= len(DIGITS), "suggestions", f"must be 1 to {len(DIGITS)}, not {suggestions}")
    check(options)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise TerminalError("write needs a terminal; `charloom generate` does without")
    token, before = load(state) if state else (b"", "")
    for number in SIGNALS:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        server = stack.enter_context(OwnServer(bundle)) if bundle else None

        def connect() -> ServerSession:
            place = server.address() if server else address
            assert place is not None, "one of the two is given"
            return begin(place, model, token, before, options, Connection() if server else connection)

        seed = choose_seed() if options.seed is None else options.seed
        app = WriteApp(Writer(connect, before, suggestions=suggestions, seed=seed))
        app.run()
    if app.error is not None:
        raise app.error
    if app.return_code:
        sys.exit(app.return_code)


def begin(
    address: str,
    model: str,
    state: bytes,
    before: str,
    options: WritingFlags,
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

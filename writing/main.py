"""The `write` command: a model and a person write a text together, in a terminal.

The screen and the client are imported when they are used, so that `--help` is quick.
"""

import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import Meta

from charloom.connection import Connection
from charloom.errors import CharloomError, require
from charloom.flags import Flags
from charloom.options import Count, Stops, StopTokens, check, choose_seed
from charloom.ranges import check_arguments
from writing.document import load
from writing.keys import DIGITS
from writing.own_server import OwnServer
from writing.writer import Writer

Unasked = Parameter(parse=False)
"""Says when a text ends, which is for the keys to say."""


@dataclass(frozen=True)
class WritingFlags(Flags):
    """The options of a text that has no end of its own."""

    max_tokens: Annotated[Count, Unasked] = Flags.max_tokens
    min_tokens: Annotated[Count, Unasked] = 0
    stop: Annotated[Stops, Unasked] = ()
    stop_tokens: Annotated[StopTokens, Unasked] = ()
    ignore_end: Annotated[bool, Unasked] = True
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
    suggestions: Annotated[int, Meta(ge=1, le=len(DIGITS)), Parameter(name=["--suggestions", "-n"])] = 9,
    options: Annotated[WritingFlags, Parameter(name="*")] = WritingFlags(),
) -> None:
    """Write with a model: your words and its words, in turns.

    Args:
        address: HOST:PORT of a server.
        connection: How to connect to it.
        bundle: Directory of a bundle, to start a server of your own that ends with the writing.
        model: Name of the model, on a server of several.
        state: File that was saved while writing, to go on from; its text is shown if it lies beside it.
        suggestions: Likeliest next tokens to show.
        options: How to generate.
    """
    from writing.app import SIGNALS, WriteApp
    from writing.session import ServerSession, begin

    one = (address is None) != (bundle is None)
    require(one, "address and bundle", "exclude each other, and one is needed")
    require(bundle is None or not model, "model", "is for --address: a bundle holds one model")
    check_arguments(write, suggestions=suggestions)
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

"""A server of one's own: a child process that ends with its parent, even if that is killed.

Run as a program, it is the child: a command of `charloom` that ends when its standard input does.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Self

from charloom.errors import CharloomError
from charloom.ready import ready_in

POLL = 0.05
MAX_SAID = 2**16
GRACE = 5.0
"""Seconds that it gets to end by itself."""


class OwnServerError(CharloomError):
    """The server did not start."""


class OwnServer:
    """`charloom serve` on a free port of loopback."""

    def __init__(self, bundle: Path) -> None:
        # No settings of anybody else's server: it would want callers, whom we could not be.
        child = [sys.executable, "-m", "writing.own_server", "--config", os.devnull]
        self._command = [*child, "serve", str(bundle)]
        self._command += ["--host", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--grace", "0"]
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._lock, self._closed = Lock(), False

    def address(self) -> str:
        """HOST:PORT of it, as soon as it is ready; starts it if it doesn't run.

        Raises:
            OwnServerError: it does not start; the error has what it said.
        """
        if self._process is None or self._process.poll() is not None:
            with tempfile.TemporaryFile() as log:
                self._address = ready_at(self._start(log), log)
        return self._address

    def close(self) -> None:
        """Ends it."""
        with self._lock:
            self._closed = True
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.close()

    def _start(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Starts it; not once it was closed, which another thread may do."""
        with self._lock:
            if self._closed:
                raise OwnServerError("the server was ended")
            # Of a session of its own: Ctrl-C in the terminal is for us, who end it then.
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("CHARLOOM_")},
            )
            return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ready_at(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> str:
    """Waits until a server says that it is ready; gives its address."""
    while True:
        ended = process.poll() is not None
        # Not by read(), which would move the place where the child writes.
        said = os.pread(log.fileno(), MAX_SAID, 0).decode("utf-8", "replace")
        if ready := ready_in(said):
            return ready.address
        if ended:
            raise OwnServerError(f"the server did not start:\n{said.strip()}")
        time.sleep(POLL)


def end_with_parent() -> None:
    """Ends this process as soon as its standard input ends, which the parent holds open."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from charloom.cli import main

    Thread(target=end_with_parent, name="parent", daemon=True).start()
    main(sys.argv[1:])

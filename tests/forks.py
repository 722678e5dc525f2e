"""Starts `charloom` as a fork of a process that has imported what it needs.

What starts is a real process, with the streams, signals and exit codes of one, for a third of the processor's
time: importing takes longer than most of what a test asks of it.
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from charloom.cli import main

IMPORTS = [
    "charloom.client",
    "cryptography.x509",
    "grpc.aio",
    "onnx",
    "prometheus_client",
    "tests.forks",
    "serving.engine.async_engine",
    "serving.main",
    "serving.metrics",
]
"""What is imported before the fork. Not onnxruntime: its import starts a thread, which no fork would have."""


class ForkedProcess:
    """A `charloom` that runs, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self, words: Sequence[object], *, stderr: BinaryIO, env: Mapping[str, str], cwd: Path
    ) -> None:
        """Starts `charloom WORDS`, which reads nothing and writes its standard error into a file."""
        self.args = list(map(str, words))
        context = get_context("forkserver")
        context.set_forkserver_preload(IMPORTS)
        with Path(os.devnull).open("r+b") as nothing:
            streams = Streams(nothing.fileno(), nothing.fileno(), stderr.fileno())
            self._process = context.Process(
                target=run, args=(self.args, streams, dict(env), cwd), daemon=True
            )
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the number of a signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Does what `returncode` does: nothing has to be waited for first."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns its exit code.

        Raises:
            TimeoutExpired: it goes on for longer.
        """
        self._process.join(timeout)
        code = self.returncode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


class Streams:
    """Descriptors of the three standard streams, on their way to another process."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def __reduce__(self) -> tuple[Any, ...]:
        return Received, tuple(map(DupFd, self._descriptors))


class Received:
    """The same, where they have arrived."""

    def __init__(self, *descriptors: Any) -> None:
        self._descriptors = descriptors

    def take(self) -> None:
        """Makes them the streams of this process."""
        for number, descriptor in enumerate(self._descriptors):
            arrived = descriptor.detach()
            os.dup2(arrived, number)
            os.close(arrived)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115


def run(words: Sequence[str], streams: Received, env: Mapping[str, str], cwd: Path) -> NoReturn:
    """Runs `charloom` in the fork, as a process that was started for it does."""
    streams.take()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["charloom", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out

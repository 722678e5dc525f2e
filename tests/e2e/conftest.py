"""A real server process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from benchmarks.scrape import scrape, total
from charloom.ready import ready_in
from serving.engine.config import RunnerConfig
from serving.local import LocalModel
from tests.forks import ForkedProcess

PATIENCE = 60
"""Seconds to wait for a server to start or to end."""


@dataclass
class ServerProcess:
    """A `charloom serve` that runs."""

    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path
    address: str = ""
    """Address of the gRPC service: HOST:PORT, or unix:PATH."""
    metrics_url: str = ""

    @property
    def stderr(self) -> str:
        """What the server has said so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_until_ready(self) -> None:
        """Waits for the line that says which ports it took."""
        deadline = time.monotonic() + PATIENCE
        while not (ready := ready_in(self.stderr)):
            assert self.process.poll() is None, (
                f"the server ended with {self.process.returncode}:\n{self.stderr}"
            )
            assert time.monotonic() < deadline, f"the server is not ready after {PATIENCE} s:\n{self.stderr}"
            time.sleep(0.05)
        self.address, self.metrics_url = ready.address, ready.metrics

    def stop(self) -> None:
        """Ends it as Kubernetes does; it must end well. A server that the test ended is left alone."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.kill()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr

    def kill(self) -> None:
        """Ends it without a warning, as a machine does that loses its power."""
        self.process.kill()
        self.process.wait()


def launch(bundle: Path, log: Path, *options: str, program: Sequence[str] = ()) -> ServerProcess:
    """Begins to start a server, on free ports unless they are given; it writes to the log.

    It is a fork that has its imports, or else Python with a program of its own. It computes on one thread
    unless the options say how many: more would spin while they wait for each other beside the other tests.
    """
    words = ["serve", str(bundle), *options]
    for name, value in (("--port", "0"), ("--metrics-port", "0"), ("--threads", "1")):
        if name not in options:
            words += [name, value]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHARLOOM_")}
    process: subprocess.Popen[bytes] | ForkedProcess
    with log.open("wb") as file:
        if program:
            command = [sys.executable, *program, *words]
            process = subprocess.Popen(command, stderr=file, env=clean, cwd=log.parent)
        else:
            process = ForkedProcess(words, stderr=file, env=clean, cwd=log.parent)
    return ServerProcess(process, log)


class Servers:
    """Starts servers on free ports, and stops all of them in the end."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self._bundle = bundle
        self._folder = folder
        self.servers: list[ServerProcess] = []

    def start(self, *options: str, bundle: Path | None = None, program: Sequence[str] = ()) -> ServerProcess:
        """Starts one and waits until it is ready."""
        log = self._folder / f"server{len(self.servers)}.log"
        server = launch(bundle or self._bundle, log, *options, program=program)
        self.servers.append(server)
        server.wait_until_ready()
        return server

    def stop(self) -> None:
        """Stops them; each that nobody ended must end well."""
        try:
            for server in self.servers:
                server.stop()
        finally:
            for server in self.servers:
                server.kill()


@pytest.fixture
def serve(bundle_dir: Path, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of a test's own: serve(*options, bundle=..., program=...)."""
    servers = Servers(bundle_dir, tmp_path)
    yield servers.start
    servers.stop()


@pytest.fixture(scope="module")
def serve_all(
    bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ServerProcess]]:
    """Servers that the tests of a module share, one of each set of options: serve_all(*options, bundle=...).

    They are for tests that neither end a server nor keep it from others.
    """
    servers = Servers(bundle_dir, tmp_path_factory.mktemp("servers"))
    yield cache(servers.start)
    servers.stop()


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Starts a server that must not come up: refusal(bundle, *options); gives its exit code and its words."""

    def refused(bundle: Path, *options: str) -> tuple[int, str]:
        server = launch(bundle, tmp_path / "refused.log", *options)
        try:
            return server.process.wait(PATIENCE), server.stderr
        finally:
            server.kill()

    return refused


@pytest.fixture(scope="session")
def local(bundle_dir: Path) -> LocalModel:
    """The servers' model in this process."""
    return LocalModel(bundle_dir, RunnerConfig(threads=1))


def metric(server: ServerProcess, name: str, **labels: str) -> float:
    """Sum of the samples of a metric that have these labels."""
    return total(scrape(server.metrics_url), name, **labels)


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for something that comes soon."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come within a minute")

"""A real server process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

READY = re.compile(r"ready: gRPC on (\S+:\d+), metrics on (?:http://)?([\w.:\[\]-]+:\d+)")
PATIENCE = 60
"""Seconds to wait for a server to start or to end."""


@dataclass
class ServerProcess:
    """A `charloom serve` that runs."""

    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""
    """HOST:PORT of the gRPC service."""
    metrics_url: str = ""

    @property
    def stderr(self) -> str:
        """What the server has said so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_until_ready(self) -> None:
        """Waits for the line that says which ports it took."""
        deadline = time.monotonic() + PATIENCE
        while not (match := READY.search(self.stderr)):
            assert self.process.poll() is None, (
                f"the server ended with {self.process.returncode}:\n{self.stderr}"
            )
            assert time.monotonic() < deadline, f"the server is not ready after {PATIENCE} s:\n{self.stderr}"
            time.sleep(0.05)
        self.address, self.metrics_url = match[1], f"http://{match[2]}/metrics"

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


def launch(bundle: Path, log: Path, *options: str) -> ServerProcess:
    """Begins to start a server, on free ports unless they are given; it writes to the log."""
    command = [sys.executable, "-m", "charloom", "serve", str(bundle), *options]
    for name in ("--port", "--metrics-port"):
        if name not in options:
            command += [name, "0"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHARLOOM_")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env=clean, cwd=log.parent)
    return ServerProcess(process, log)


@pytest.fixture
def serve(bundle_dir: Path, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers on free ports: serve(*options, bundle=...). All are stopped after the test."""
    servers: list[ServerProcess] = []

    def start(*options: str, bundle: Path = bundle_dir) -> ServerProcess:
        server = launch(bundle, tmp_path / f"server{len(servers)}.log", *options)
        servers.append(server)
        server.wait_until_ready()
        return server

    yield start
    try:
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.kill()

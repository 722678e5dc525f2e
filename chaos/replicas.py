"""Replicas: real `charloom serve` processes on fixed ports, which can be killed and started again."""

import asyncio
import base64
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from benchmarks.scrape import scrape, total
from charloom.ready import ready_in

TIMEOUT = 180.0
"""Seconds to wait for a server to start or to end."""


class Replica:
    """A server on loopback that keeps its ports from one start to the next; ends with its context."""

    def __init__(self, bundles: Sequence[Path], options: Sequence[str], log: Path) -> None:
        self.port, self.metrics_port = free_ports(2)
        ports = ["--port", str(self.port), "--metrics-port", str(self.metrics_port)]
        served = [str(bundle) for bundle in bundles]
        self._command = [sys.executable, "-m", "charloom", "serve", *served, *ports, *options]
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        log.write_bytes(b"")

    @property
    def address(self) -> str:
        """HOST:PORT of the gRPC service."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Id of the running process."""
        assert self._process is not None, "it was started"
        return self._process.pid

    @property
    def said(self) -> str:
        """The log of all its processes."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def start(self) -> None:
        """Starts it and waits until it serves; raises RuntimeError if it does not."""
        earlier = len(self.said)
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(self._command, stderr=file)  # noqa: S603
        async with asyncio.timeout(TIMEOUT):
            while not ready_in(self.said[earlier:]):
                if self._process.poll() is not None:
                    raise RuntimeError(f"a server did not start:\n{self.said}")
                await asyncio.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None, "it was started"
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for its end; gives the exit code."""
        assert self._process is not None, "it was started"
        async with asyncio.timeout(TIMEOUT):
            while (code := self._process.poll()) is None:
                await asyncio.sleep(0.02)
        return code

    def streams(self) -> tuple[int, int]:
        """Number of streams with a slot, and of those that wait for one."""
        samples = scrape(f"http://127.0.0.1:{self.metrics_port}/metrics")
        active, waiting = (total(samples, f"charloom_{what}_streams") for what in ("active", "waiting"))
        return int(active), int(waiting)

    def in_use(self) -> int:
        """Number of streams, with a slot or waiting."""
        return sum(self.streams())

    async def idle(self, seconds: float = 10.0) -> int:
        """Waits until there are no streams, for `seconds` at most; gives how many are left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (used := await asyncio.to_thread(self.in_use)) and loop.time() < deadline:
            await asyncio.sleep(0.1)
        return used

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def write_keys(path: Path) -> None:
    """Writes a key with which replicas open each other's state tokens."""
    path.write_text(f"chaos:{base64.b64encode(secrets.token_bytes(32)).decode()}\n", encoding="ascii")
    path.chmod(0o600)

"""Processes: a real `charloom serve`, and the CPU time and memory that it uses, as Linux counts them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from benchmarks.scrape import scrape, total
from charloom.ready import Ready, ready_in

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 2**20


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds of a server, by what they were for."""

    loop: float
    """The event loop and gRPC's own threads."""
    engine: float
    """The engine's thread and onnxruntime's."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.loop + self.engine

    def __sub__(self, other: Self) -> "CpuTime":
        return CpuTime(self.loop - other.loop, self.engine - other.engine)


class ServerProcess:
    """A `charloom serve` on free ports of loopback, as a context."""

    def __init__(self, bundle: Path, options: Sequence[str] = ()) -> None:
        ports = ["--port", "0", "--metrics-port", "0"]
        command = [sys.executable, "-m", "charloom", "serve", str(bundle), *ports, *options]
        self._log = TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(command, stderr=self._log)  # noqa: S603
        self.pid = self._process.pid
        self._ready = self._wait_until_ready()
        self.address = self._ready.address

    def _wait_until_ready(self) -> Ready:
        while True:
            ended = self._process.poll() is not None
            said = os.pread(self._log.fileno(), MIB, 0).decode()
            if ready := ready_in(said):
                return ready
            if ended:
                raise RuntimeError(f"the server did not start:\n{said}")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._log.close()

    def bursts(self) -> tuple[float, float]:
        """Bursts so far, and the seconds they took, by the server's own metrics."""
        samples, name = scrape(self._ready.metrics), "charloom_burst_duration_seconds"
        return total(samples, f"{name}_count"), total(samples, f"{name}_sum")

    def generated(self) -> float:
        """Tokens that it has generated so far."""
        return total(scrape(self._ready.metrics), "charloom_generated_tokens_total")

    def active(self) -> float:
        """Streams that have a slot."""
        return total(scrape(self._ready.metrics), "charloom_active_streams")

    def cpu_time(self) -> CpuTime:
        """What its threads have used so far."""
        seconds = {tid: (name, used) for tid, name, used in thread_times(self.pid)}
        # onnxruntime starts its threads while the bundle is loaded, gRPC its own after that.
        first_of_grpc = min(tid for tid, (name, _) in seconds.items() if name.startswith("grpc"))
        engine = sum(
            used
            for tid, (name, used) in seconds.items()
            if name.startswith("engine-") or self.pid < tid < first_of_grpc
        )
        return CpuTime(sum(used for _, used in seconds.values()) - engine, engine)

    def memory(self) -> float:
        """Resident MiB."""
        return resident(self.pid)


def thread_times(pid: int) -> list[tuple[int, str, float]]:
    """Id, name and CPU seconds of each thread of a process."""
    times = []
    for path in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
        user, system = rest.split()[11:13]
        times.append((int(path.name), name, (int(user) + int(system)) / TICKS))
    return times


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def processor() -> str:
    """The processor's name, as Linux gives it."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else "unknown processor"

"""Samples of a server: memory, threads and files, as Linux counts them, and streams, by its own metrics."""

import asyncio
import csv
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from benchmarks.processes import resident
from chaos.replicas import Replica


@dataclass(frozen=True)
class Sample:
    """What a server holds at one moment."""

    seconds: float
    """Seconds since the first sample."""
    memory: float
    """Resident MiB."""
    threads: int
    files: int
    """Open files, sockets included."""
    active: int
    """Slots in use."""
    waiting: int
    """Streams that wait for one."""
    names: str
    """Number of threads by name, in words."""

    def kept_since(self, before: "Sample") -> list[str]:
        """In words, of what it holds more than an earlier sample."""
        return [
            f"{what}: {now} in the end, {then} before"
            for what in ("threads", "files")
            if (now := getattr(self, what)) > (then := getattr(before, what))
        ]


async def take(server: Replica, began: float) -> Sample:
    """Takes a sample; `began` is on `time.monotonic`."""
    process = Path(f"/proc/{server.pid}")
    seconds, memory = round(time.monotonic() - began, 2), round(resident(server.pid), 2)
    files = len(list((process / "fd").iterdir()))
    names = Counter(thread_names(process))
    # Last, since to answer the server takes a thread and a file.
    active, waiting = await asyncio.to_thread(server.streams)
    said = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    return Sample(seconds, memory, names.total(), files, active, waiting, said)


def thread_names(process: Path) -> Iterator[str]:
    """Names of a process's threads; most libraries leave them the program's name."""
    for thread in (process / "task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            yield (thread / "comm").read_text().strip()


def write(samples: Sequence[Sample], path: Path) -> None:
    """Writes samples as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Sample)])
        writer.writerows(map(astuple, samples))

"""Samples of a server: what it holds of the machine, as Linux counts it, and of streams, as it says itself.

It reads, and judges nothing.
"""

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
    """What a server held at some moment."""

    seconds: float
    """Since the first."""
    memory: float
    """Resident MiB."""
    threads: int
    files: int
    """Open ones, sockets among them."""
    active: int
    """Slots in use."""
    waiting: int
    """Streams that wait for one."""
    names: str
    """How many threads there are of each name."""

    def kept_since(self, before: "Sample") -> list[str]:
        """What it holds more of than an earlier one, in words."""
        return [
            f"{what}: {now} in the end, {then} before"
            for what in ("threads", "files")
            if (now := getattr(self, what)) > (then := getattr(before, what))
        ]


async def take(server: Replica, began: float) -> Sample:
    """A sample; `began` is on `time.monotonic`."""
    process = Path(f"/proc/{server.pid}")
    seconds, memory = round(time.monotonic() - began, 2), round(resident(server.pid), 2)
    files = len(list((process / "fd").iterdir()))
    names = Counter(thread_names(process))
    # Only now: for its answer the server takes a thread and a file.
    active, waiting = await asyncio.to_thread(server.streams)
    said = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    return Sample(seconds, memory, names.total(), files, active, waiting, said)


def thread_names(process: Path) -> Iterator[str]:
    """Those of a process's threads; most libraries keep the program's name."""
    for thread in (process / "task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            yield (thread / "comm").read_text().strip()


def write(samples: Sequence[Sample], path: Path) -> None:
    """Writes samples as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Sample)])
        writer.writerows(map(astuple, samples))

"""Samples of a server: what it holds of the machine, as Linux counts it, and of streams, as it says itself.

It reads, and judges nothing.
"""

import asyncio
import csv
import time
from collections.abc import Sequence
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


async def take(server: Replica, began: float) -> Sample:
    """A sample; `began` is on `time.monotonic`."""
    process = Path(f"/proc/{server.pid}")
    seconds, memory = round(time.monotonic() - began, 2), round(resident(server.pid), 2)
    threads, files = (len(list((process / held).iterdir())) for held in ("task", "fd"))
    # Only now: for its answer the server takes a thread and a file.
    active, waiting = await asyncio.to_thread(server.streams)
    return Sample(seconds, memory, threads, files, active, waiting)


def write(samples: Sequence[Sample], path: Path) -> None:
    """Writes samples as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Sample)])
        writer.writerows(map(astuple, samples))

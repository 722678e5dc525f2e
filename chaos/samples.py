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
    return Sample(
        seconds=round(time.monotonic() - began, 2),
        memory=round(resident(server.pid), 2),
        threads=len(list((process / "task").iterdir())),
        files=len(list((process / "fd").iterdir())),
        active=int(await asyncio.to_thread(server.gauges, "charloom_active_streams")),
        waiting=int(await asyncio.to_thread(server.gauges, "charloom_waiting_streams")),
    )


def write(samples: Sequence[Sample], path: Path) -> None:
    """Writes samples as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Sample)])
        writer.writerows(map(astuple, samples))

"""The log line of a server that is ready: how it is written, and how tests and benchmarks parse it."""

import re
from dataclasses import dataclass

LINE = re.compile(r"ready: gRPC on (.+?), metrics on (http://\S+?/metrics)(?:, health on (\S+:\d+))?")
"""The line's format; it is found within a line of JSON too."""


@dataclass(frozen=True)
class Ready:
    """The addresses of a server."""

    address: str
    """gRPC service: HOST:PORT, or unix:PATH."""
    metrics: str
    """URL of the metrics."""
    health: str | None = None
    """HOST:PORT of the health service, if it has a port of its own."""

    def __str__(self) -> str:
        beside = f", health on {self.health}" if self.health else ""
        return f"ready: gRPC on {self.address}, metrics on {self.metrics}{beside}"


def ready_in(said: str) -> Ready | None:
    """The addresses in a server's log so far; None if it is not ready yet."""
    found = LINE.search(said)
    return Ready(*found.groups()) if found else None

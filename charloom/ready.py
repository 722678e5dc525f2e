"""The line in which a server says that it is ready: as the server writes it, and as others read it.

It knows neither servers nor processes.
"""

import re
from dataclasses import dataclass

LINE = re.compile(r"ready: gRPC on (.+?), metrics on (http://\S+?/metrics)(?:, health on (\S+:\d+))?")
"""Also within a line of JSON."""


@dataclass(frozen=True)
class Ready:
    """Where a server is to be found."""

    address: str
    """Of the gRPC service: HOST:PORT, or unix:PATH."""
    metrics: str
    """URL of the metrics."""
    health: str | None = None
    """HOST:PORT of the health service, where it has a port of its own."""

    def __str__(self) -> str:
        beside = f", health on {self.health}" if self.health else ""
        return f"ready: gRPC on {self.address}, metrics on {self.metrics}{beside}"


def ready_in(said: str) -> Ready | None:
    """Where a server is to be found that has said this; None if it is not ready yet."""
    found = LINE.search(said)
    return Ready(*found.groups()) if found else None

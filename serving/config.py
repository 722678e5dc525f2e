"""The options of the server itself: where it listens, and how it starts and ends."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from charloom.ranges import check_ranges
from serving.rpc.security.exposure import is_unix

Port = Annotated[int, Meta(ge=0, le=65_535)]


@dataclass(frozen=True)
class ServerConfig:
    """Where the server listens and how it ends."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all, unix:PATH for a socket in the file system."""
    port: Port = 50051
    """Port of the gRPC service; 0 takes a free one."""
    insecure_public: bool = False
    """Listen where other machines can connect even without encryption, or where anybody may call."""
    metrics_port: Port = 9464
    """Port of the Prometheus metrics; 0 takes a free one."""
    metrics_host: str | None = None
    """Address of the metrics, if it is not that of the server."""
    health_port: Port | None = None
    """Another port for the health service alone, which is never encrypted; 0 takes a free one."""
    grace: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds in which running texts may finish after SIGTERM."""
    patience: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds without a burst that succeeded, while there is work, after which the server counts as dead."""
    heartbeat: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds without news for a call, to a second or so, after which it is sent an empty message."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def tcp_host(self) -> str:
        """Address of what does not fit into a socket in the file system."""
        return "127.0.0.1" if is_unix(self.host) else self.host

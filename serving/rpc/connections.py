"""Connections: the limits of their messages and headers, their age, and keepalive.

gRPC enforces these limits itself, but for the timeout of slow readers (`slow_reader.py`).
"""

from dataclasses import dataclass

from charloom.errors import require

Options = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ConnectionConfig:
    """Limits of a connection."""

    max_request_bytes: int = 4 * 2**20
    """Most bytes of a request."""
    max_header_bytes: int = 16 * 2**10
    """Most bytes of a call's headers (metadata), some hundred of gRPC's own among them."""
    connection_age: float = 0.0
    """Seconds after which a connection is to be replaced by a new one; 0 for never."""
    connection_grace: float = 600.0
    """Seconds that calls on such a connection get to finish."""
    keepalive: float = 60.0
    """Seconds without traffic after which the server pings a client."""
    keepalive_timeout: float = 20.0
    """Seconds that it has to answer the ping before its connection is closed."""
    min_ping_interval: float = 10.0
    """Least seconds between two pings of a client; if it pings more often its connection is closed."""
    reader_timeout: float = 60.0
    """Seconds after which a stream ends whose client takes nothing."""

    def __post_init__(self) -> None:
        require(1024 <= self.max_request_bytes < 2**31, "max-request-bytes", "must be 1024 to 2**31 - 1")
        require(1024 <= self.max_header_bytes < 2**31, "max-header-bytes", "must be 1024 to 2**31 - 1")
        require(self.connection_age >= 0, "connection-age", "must be above 0 seconds, or 0 for no limit")
        require(self.connection_grace >= 0, "connection-grace", "must be 0 seconds or more")
        require(self.keepalive >= 1, "keepalive", "must be at least 1 second")
        require(self.keepalive_timeout >= 1, "keepalive-timeout", "must be at least 1 second")
        require(self.min_ping_interval >= 0, "min-ping-interval", "must be 0 seconds or more")
        require(self.reader_timeout > 0, "reader-timeout", "must be above 0 seconds")

    @property
    def options(self) -> Options:
        """The limits as gRPC's channel arguments."""
        age: Options = (
            ("grpc.max_connection_age_ms", milliseconds(self.connection_age)),
            ("grpc.max_connection_age_grace_ms", milliseconds(self.connection_grace)),
        )
        return (
            ("grpc.max_receive_message_length", self.max_request_bytes),
            # Between a soft and a hard limit gRPC lets chance decide; so there is one limit.
            ("grpc.max_metadata_size", self.max_header_bytes),
            ("grpc.absolute_max_metadata_size", self.max_header_bytes),
            ("grpc.keepalive_time_ms", milliseconds(self.keepalive)),
            ("grpc.keepalive_timeout_ms", milliseconds(self.keepalive_timeout)),
            # Clients without a call may ping, and are pinged, for any length of time.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(self.min_ping_interval)),
            *(age if self.connection_age else ()),
        )


def milliseconds(seconds: float) -> int:
    """Returns seconds as gRPC's milliseconds; what is too large, as inf is, as its number for never."""
    return round(min(seconds * 1000, 2**31 - 1))

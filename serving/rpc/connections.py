"""Connections: the limits of their messages and headers, their age, and keepalive.

gRPC enforces these limits itself, but for the timeout of slow readers (`slow_reader.py`).
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from charloom.ranges import check_ranges

Options = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ConnectionConfig:
    """Limits of a connection."""

    max_request_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 4 * 2**20
    """Bytes of a request, at the most."""
    max_header_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 16 * 2**10
    """Bytes of a call's headers (metadata), some hundred of gRPC's own among them, at the most."""
    connection_age: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds after which clients are told to connect anew; 0 sets no limit."""
    connection_grace: Annotated[float, Meta(ge=0)] = 600.0
    """Seconds that calls on such a connection get to finish."""
    keepalive: Annotated[float, Meta(ge=1)] = 60.0
    """Seconds without traffic after which a client is pinged."""
    keepalive_timeout: Annotated[float, Meta(ge=1)] = 20.0
    """Seconds that a client has to answer a ping before its connection is closed."""
    min_ping_interval: Annotated[float, Meta(ge=0)] = 10.0
    """Seconds that a client must leave between its pings; one that pings more often is disconnected."""
    reader_timeout: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds after which a text ends whose client reads none of it."""

    def __post_init__(self) -> None:
        check_ranges(self)

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

"""A client's servers, which take turns, and the channels to them.

It knows how calls reach a server, and when one is taken for dead; of calls only how those for text begin.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, cycle, islice
from typing import Any, TypeVar

import grpc
import grpc.aio

import charloom.v1.charloom_pb2 as pb
from charloom.connection import Tls
from charloom.errors import require
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub

KEEPALIVE = 30.0
"""Seconds of silence on a call after which the server is asked whether it is still there. A server closes
the connection of a client that asks more often than its --min-ping-interval."""
CHANNEL_OPTIONS = (
    # A pause between responses may be a busy server; only a connection that is gone ends a stream.
    ("grpc.keepalive_time_ms", round(KEEPALIVE * 1000)),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Of its own accord gRPC stops asking after twice, and a long pause could end in a dead connection.
    ("grpc.http2.max_pings_without_data", 0),
    # A name with several addresses is that of several replicas.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
SCHEMES = ("unix", "unix-abstract", "dns", "ipv4", "ipv6", "vsock", "xds")
"""Of gRPC's other names of servers; see https://grpc.github.io/grpc/core/md_doc_naming.html."""
Start = Callable[[pb.GenerateRequest, float | None], Any]
"""Begins a call, with the seconds that it may take, on the next of a client's addresses."""
Stub = TypeVar("Stub")


class Servers:
    """A client's servers, which take turns."""

    def __init__(self, channels: Sequence[grpc.Channel | grpc.aio.Channel], token: str | None) -> None:
        self._stubs = [authorized(CharloomServiceStub(channel), token) for channel in channels]
        self._turn = count()

    def __len__(self) -> int:
        return len(self._stubs)

    def next(self) -> Any:
        """The one whose turn it is."""
        return self._stubs[next(self._turn) % len(self._stubs)]

    def round(self) -> Start:
        """Begins the calls of one text: on the next one, then on each of the others.

        The round is the text's own: were it shared, others could leave it nothing but the one that
        is gone, again and again.
        """
        first = next(self._turn) % len(self._stubs)
        stubs = islice(cycle(self._stubs), first, None)
        return lambda message, timeout: next(stubs).Generate(message, timeout=timeout)


def connect(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel to a server."""
    if tls is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)


def connect_async(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """A channel to a server from an event loop."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)


def authorized(stub: Stub, token: str | None) -> Stub:
    """The stub, each of its calls showing the token.

    Raises:
        ConfigError: it cannot be a token; the message does not tell it.
    """
    if token is None:
        return stub
    sane = token != "" and token.isascii() and token.isprintable() and " " not in token
    require(sane, "token", "must be printable ASCII without spaces")
    metadata = (("authorization", f"Bearer {token}"),)
    for name, call in vars(stub).items():
        setattr(stub, name, partial(call, metadata=metadata))
    return stub


def several(address: str | Sequence[str]) -> list[str]:
    """One address or several as several; raises ConfigError for what is none."""
    addresses = [address] if isinstance(address, str) else list(address)
    for one in addresses or [""]:
        require(leads_somewhere(one), "address", f"must be HOST:PORT, such as 127.0.0.1:50051, not {one!r}")
    return addresses


def leads_somewhere(address: str) -> bool:
    """Whether it names a port of a host, or is one of gRPC's other names, such as unix:PATH."""
    scheme, _, rest = address.partition(":")
    if scheme in SCHEMES:
        return rest != ""
    found = re.fullmatch("[^/]+:([0-9]{1,5})", address)
    return found is not None and int(found[1]) < 65536

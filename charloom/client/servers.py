"""A client's servers, which take turns, and the gRPC channels to them."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, cycle, islice
from typing import Any, TypeVar

import grpc
import grpc.aio

from charloom.connection import Tls
from charloom.errors import require
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub

KEEPALIVE = 30.0
"""Seconds without data on a call after which the server is pinged. A server closes the connection of a client
that pings more often than its --min-ping-interval."""
CHANNEL_OPTIONS = (
    # A pause between responses may be a busy server; only a dead connection ends a stream.
    ("grpc.keepalive_time_ms", round(KEEPALIVE * 1000)),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's default stops after two pings, and a long pause could end in a dead connection.
    ("grpc.http2.max_pings_without_data", 0),
    # A name with several addresses stands for several replicas.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
SCHEMES = ("unix", "unix-abstract", "dns", "ipv4", "ipv6", "vsock", "xds")
"""Schemes of gRPC's other server names; see https://grpc.github.io/grpc/core/md_doc_naming.html."""
Start = Callable[[Any, float | None], Any]
"""Begins a call on the next of a client's servers; takes the request and a timeout in seconds."""
Stub = TypeVar("Stub")


class Servers:
    """A client's servers, which take turns."""

    def __init__(self, channels: Sequence[grpc.Channel | grpc.aio.Channel], token: str | None) -> None:
        self._stubs = [authorized(CharloomServiceStub(channel), token) for channel in channels]
        self._turn = count()

    def __len__(self) -> int:
        return len(self._stubs)

    def next(self) -> Any:
        """The stub of the next server."""
        return self._stubs[next(self._turn) % len(self._stubs)]

    def round(self, method: str) -> Start:
        """A function that begins the calls of one generation: on the next server, then on each of the others.

        The method is the name of the call, such as Generate.

        Each generation has a round of its own: in a shared one it could meet the same dead server again
        and again.
        """
        first = next(self._turn) % len(self._stubs)
        stubs = islice(cycle(self._stubs), first, None)
        return lambda message, timeout: getattr(next(stubs), method)(message, timeout=timeout)


def connect(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel to a server."""
    if tls is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)


def connect_async(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """A channel to a server, for an event loop."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)


def authorized(stub: Stub, token: str | None) -> Stub:
    """The stub, with the token as metadata of each call.

    Raises:
        ConfigError: it cannot be a token; the message does not contain it.
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
    """A list of addresses; raises ConfigError for what is no address."""
    addresses = [address] if isinstance(address, str) else list(address)
    for one in addresses or [""]:
        require(is_address(one), "address", f"must be HOST:PORT, such as 127.0.0.1:50051, not {one!r}")
    return addresses


def is_address(address: str) -> bool:
    """Whether a text is HOST:PORT or one of gRPC's other server names, such as unix:PATH."""
    scheme, _, rest = address.partition(":")
    if scheme in SCHEMES:
        return rest != ""
    found = re.fullmatch("[^/]+:([0-9]{1,5})", address)
    return found is not None and int(found[1]) < 65536

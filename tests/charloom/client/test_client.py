"""The client where no server is: its errors, and what they are made of."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, RequestError
from charloom.errors import ConfigError
from charloom.v1.charloom_pb2_grpc import (
    CharloomServiceServicer,
    add_CharloomServiceServicer_to_server,
)

NOBODY = ["127.0.0.1:1", "127.0.0.1:2"]
ASKS = {
    "models": lambda client: client.models(),
    "score": lambda client: client.score(["a"]),
    "generate": lambda client: client.generate(seed=1).text(),
}


@pytest.mark.parametrize("ask", [*ASKS.values(), Client.converse], ids=[*ASKS, "converse"])
def test_an_error_has_that_of_grpc_as_its_cause(ask: Callable[[Client], Any]) -> None:
    with Client(NOBODY) as client, pytest.raises(RequestError, match="UNAVAILABLE") as caught:
        ask(client)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_so_it_has_in_an_event_loop(ask: Callable[[AsyncClient], Any]) -> None:
    async def run() -> None:
        async with AsyncClient(NOBODY) as client:
            await ask(client)

    with pytest.raises(RequestError, match="UNAVAILABLE") as caught:
        asyncio.run(run())
    assert isinstance(caught.value.__cause__, grpc.RpcError)


class Refusing(CharloomServiceServicer):
    """Hears what a conversation is to be about, and holds none."""

    def Converse(  # noqa: N802
        self, request_iterator: Iterator[pb.ConverseRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ConverseResponse]:
        next(request_iterator)
        time.sleep(0.2)  # until the client waits for another command
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")


def test_a_conversation_that_is_refused_leaves_no_thread() -> None:
    """gRPC's own, which takes commands to the server, waited for the next one for ever."""
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        add_CharloomServiceServicer_to_server(Refusing(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        before = set(threading.enumerate())
        with Client(f"127.0.0.1:{port}") as client:
            for _ in range(3):
                with pytest.raises(RequestError, match="NOT_FOUND"):
                    client.converse()
        deadline = time.monotonic() + 10
        while (left := set(threading.enumerate()) - before - pool._threads) and time.monotonic() < deadline:
            time.sleep(0.02)
        server.stop(None).wait()
    assert not left


def test_what_a_client_is_told_is_checked_before_it_connects() -> None:
    for address in ("", [], ["a:1", ""], "a", "a:", ":1", "a:65536", "a:²", "http://a:1", "unix:"):
        with pytest.raises(ConfigError, match="address must be HOST:PORT"):
            Client(address)
    for address in ("a:1", "[::1]:50051", "unix:/run/a", "dns:///a:1", ["127.0.0.1:65535", "b.c:1"]):
        Client(address).close()
    with Client(NOBODY) as client, pytest.raises(TypeError, match="texts are a list"):
        client.score("abc")

"""Faults of onnxruntime in a real server: bursts that fail, and bursts that never end."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from charloom.client import Client, Generation, RequestError
from charloom.client.retries import RetryConfig
from serving.server import LIVENESS
from tests.e2e.conftest import ServerProcess, metric, wait_until
from tests.e2e.faulty_server import FAIL, HANG

Serve = Callable[..., ServerProcess]
LONG: dict[str, Any] = {"max_tokens": 10_000, "seed": 5, "state_interval": 500}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Faulty:
    """A server that can be made to fail, and what makes it."""

    def __init__(self, server: ServerProcess, fault: Path) -> None:
        self.server = server
        self._fault = fault

    def be(self, fault: str) -> None:
        """Has all bursts from now on fail or hang; the empty string ends it."""
        new = self._fault.with_suffix(".new")
        new.write_text(fault)
        new.replace(self._fault)

    def health(self, service: str = "") -> int:
        with grpc.insecure_channel(self.server.address) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)

    def wait_for(self, status: int, service: str = "") -> None:
        """Waits until its health is as given."""
        wait_until(lambda: self.health(service) == status)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"a:{base64.b64encode(bytes(range(32))).decode()}\n")
    return path


@pytest.fixture
def faulty(serve: Serve, keys: Path, tmp_path: Path) -> Iterator[Faulty]:
    """A server that is well, as yet."""
    fault = tmp_path / "fault"
    program = (str(Path(__file__).with_name("faulty_server.py")), str(fault))
    options = ("--patience", "1", "--heartbeat", "1", "--grace", "0.2", "--state-keys", str(keys))
    made = Faulty(serve(*options, program=program), fault)
    yield made
    made.be("")


def in_the_midst(generation: Generation, do: Callable[[], None]) -> str:
    """The text of a generation, in the midst of which something is done."""
    text = ""
    for count, piece in enumerate(generation.pieces()):
        text += piece.text
        if count == 3:
            do()
    return text


@pytest.mark.parametrize("fault", [FAIL, pytest.param(HANG, marks=pytest.mark.slow)])
def test_a_text_goes_on_elsewhere(faulty: Faulty, serve: Serve, keys: Path, fault: str) -> None:
    other = serve("--state-keys", str(keys))
    with Client(other.address) as client:
        undisturbed = client.generate("The ", **LONG).text()
    with Client([faulty.server.address, other.address]) as client:
        generation = client.generate("The ", **LONG)
        assert in_the_midst(generation, lambda: faulty.be(fault)) == undisturbed
    assert generation.resumed >= 1
    assert generation.exact


def test_a_burst_that_fails_ends_its_streams_and_the_server_recovers(faulty: Faulty) -> None:
    with Client(faulty.server.address, RetryConfig(max_attempts=1)) as client:
        undisturbed = client.generate("The ", max_tokens=100, seed=1).text()
        with pytest.raises(RequestError) as raised:
            in_the_midst(client.generate("The ", **LONG), lambda: faulty.be(FAIL))
        assert raised.value.code == grpc.StatusCode.INTERNAL
        # Nobody asks any more, and still it finds out that this was no single burst ...
        faulty.wait_for(NOT_SERVING)
        faulty.wait_for(NOT_SERVING, LIVENESS)
        faulty.be("")
        faulty.wait_for(SERVING)  # ... and when it is over
        assert client.generate("The ", max_tokens=100, seed=1).text() == undisturbed
    faulty.wait_for(SERVING, LIVENESS)
    wait_until(lambda: metric(faulty.server, "charloom_active_streams") == 0)


def test_a_burst_that_hangs_is_told_to_its_clients_and_to_the_supervisor(faulty: Faulty) -> None:
    with Client(faulty.server.address, RetryConfig(max_attempts=1)) as client:
        undisturbed = client.generate("The ", max_tokens=100, seed=1).text()
        faulty.wait_for(SERVING, LIVENESS)
        with pytest.raises(RequestError) as raised:
            in_the_midst(client.generate("The ", **LONG), lambda: faulty.be(HANG))
        assert raised.value.code == grpc.StatusCode.UNAVAILABLE
        faulty.wait_for(NOT_SERVING)
        faulty.wait_for(NOT_SERVING, LIVENESS)
        faulty.be("")  # it was slow, and not dead
        faulty.wait_for(SERVING, LIVENESS)
        assert client.generate("The ", max_tokens=100, seed=1).text() == undisturbed
    wait_until(lambda: metric(faulty.server, "charloom_active_streams") == 0)


def test_a_server_that_hangs_can_be_ended(faulty: Faulty) -> None:
    with Client(faulty.server.address, RetryConfig(max_attempts=1)) as client:
        with pytest.raises(RequestError):
            in_the_midst(client.generate("The ", **LONG), lambda: faulty.be(HANG))
        faulty.server.stop()

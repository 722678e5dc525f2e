"""Whatever a client sends, the server stands, says what is wrong with it, and keeps nothing."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from tests.fuzz.conftest import Rounds, Target
from tests.fuzz.messages import messages, wires

SERVICE = pb.DESCRIPTOR.services_by_name["CharloomService"]
METHODS = pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
FINE = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
MAX_TEXTS = 50
"""Texts of a series."""
OPEN = pb.ConverseRequest(open=pb.Open()).SerializeToString()


def path(method: MethodDescriptor) -> str:
    return f"/{SERVICE.full_name}/{method.name}"


def brief(method: MethodDescriptor) -> Callable[[bytes], bytes]:
    """Shortens series, which may have any number of texts; bytes that are no message stay as they are."""

    def shorten(sent: bytes) -> bytes:
        message = pb.GenerateSeriesRequest()
        try:
            message.ParseFromString(sent)
        except DecodeError:
            return sent
        if message.count <= MAX_TEXTS and len(message.indexes) <= MAX_TEXTS:
            return sent
        message.count = min(message.count, MAX_TEXTS)
        del message.indexes[MAX_TEXTS:]
        return message.SerializeToString()

    return shorten if method.name == "GenerateSeries" else lambda sent: sent


@METHODS
def test_messages_of_any_values(method: MethodDescriptor, target: Target, rounds: Rounds) -> None:
    converse = method.name == "Converse"

    def check(sent: list[bytes]) -> None:
        code = target.status(path(method), *([OPEN] if converse else []), *map(brief(method), sent))
        assert code in FINE, code

    one = messages(method.input_type).map(lambda message: message.SerializeToString())
    rounds.run(st.lists(one, min_size=1, max_size=8 if converse else 1), check)
    target.check()


@METHODS
def test_bytes_that_are_nearly_messages(method: MethodDescriptor, target: Target, rounds: Rounds) -> None:
    def check(sent: bytes) -> None:
        assert (code := target.status(path(method), brief(method)(sent))) in FINE, code

    rounds.run(wires(method.input_type), check)
    target.check()


@pytest.mark.parametrize(
    "name",
    [
        *(path(method) for method in SERVICE.methods),
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_bytes_that_are_no_message_are_an_invalid_argument(name: str, target: Target) -> None:
    assert target.status(name, b"\xff") == grpc.StatusCode.INVALID_ARGUMENT
    if name.endswith("Converse"):
        assert target.status(name, OPEN, b"\xff") == grpc.StatusCode.INVALID_ARGUMENT
    target.check()

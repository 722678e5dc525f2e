"""What a client is told of an error fits into the headers that carry it."""

import pytest
from grpc_status import rpc_status

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from serving.errors import InexactError, OtherBundleError
from serving.rpc.status import shortened, to_proto

HEADERS = 8192
"""Bytes of headers that a gRPC peer takes for sure."""
LONG = "☃" * 500_000


@pytest.mark.parametrize(
    "error",
    [
        OtherBundleError(LONG, "m"),
        InexactError(LONG, "here"),
        InvalidRequestError([Violation("model", LONG)]),
        InvalidRequestError(
            [Violation(f"field_{i}", "must be something else here, " * 9) for i in range(40)]
        ),
    ],
)
def test_a_status_fits_into_the_headers_whatever_it_echoes(error: CharloomError) -> None:
    status = rpc_status.to_status(to_proto(error))
    [(_, details)] = status.trailing_metadata
    message = "".join(f"%{byte:02X}" for byte in status.details.encode())  # as gRPC writes it, at the worst
    assert len(message) + len(details) * 4 / 3 + 200 < HEADERS
    assert status.details.startswith(str(error)[:100])


def test_usual_messages_are_whole() -> None:
    error = InvalidRequestError([Violation(f"field_{i}", "must be 1 to 20, not 21") for i in range(20)])
    assert to_proto(error).message == str(error)


def test_a_text_is_cut_between_characters() -> None:
    assert shortened("ab☃", 5) == "ab☃"
    assert shortened("ab☃☃", 7) == "ab…"
    assert shortened("\ud800", 5) == "\ud800"

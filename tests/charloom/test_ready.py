"""The line in which a server says that it is ready can be read wherever it stands."""

import json

import pytest

from charloom.ready import Ready, ready_in

METRICS = "http://127.0.0.1:9464/metrics"


@pytest.mark.parametrize(
    "ready",
    [
        Ready("127.0.0.1:50051", METRICS),
        Ready("[::1]:50051", "http://[::1]:9464/metrics", "[::1]:50052"),
        Ready("unix:/run/my files/charloom.sock", METRICS),
    ],
)
def test_what_is_written_is_read(ready: Ready) -> None:
    assert ready_in(f"charloom: small: float32\ncharloom: {ready}\ncharloom: more\n") == ready
    assert ready_in(json.dumps({"level": "info", "message": str(ready)})) == ready
    assert ready_in(json.dumps({"message": str(ready), "level": "info"})) == ready


def test_who_has_not_said_all_of_it_is_not_ready() -> None:
    line = str(Ready("127.0.0.1:50051", METRICS))
    assert not any(ready_in(line[:end]) for end in range(len(line)))
    assert ready_in("charloom: not ready: gRPC has stopped\n") is None

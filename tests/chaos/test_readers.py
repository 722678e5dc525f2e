"""A refused request is sent again when the server says."""

import grpc

from chaos.readers import PAUSE, pause
from charloom.client import RequestError


def test_who_is_refused_asks_again_when_the_server_says() -> None:
    assert pause(RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after=12.5)) == 12.5
    assert pause(RequestError(grpc.StatusCode.UNAVAILABLE, "gone")) == PAUSE

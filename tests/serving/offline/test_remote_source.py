"""Attempts on a server: in the order of their numbers, and no more at the same time than it allows."""

from collections.abc import Iterator
from typing import Any, cast

import grpc
import pytest

from charloom.client import Client, ModelInfo, NetworkInfo, RequestError, SeriesText
from charloom.options import GenerateOptions, Violation
from serving.offline.attempt import Attempt
from serving.offline.remote_source import RemoteSource

INFO = ModelInfo(
    name="m",
    version="1",
    bundle_digest="d",
    execution_class="c",
    precision="float32",
    network=NetworkInfo("recurrent", 1, {}, 1, ""),
    vocabulary_size=3,
    validation_loss=1.0,
    state_bytes=1,
    ends=True,
    labels={},
    delimiter="\n",
    end=2,
)


class FakeClient:
    """A server that lets so many texts run at the same time, whose texts end in reverse, some at a time."""

    def __init__(self, parallel: int, *refusals: RequestError) -> None:
        self.parallel = parallel
        self.refusals = list(refusals)
        self.calls: list[int] = []
        self.requests: list[dict[str, Any]] = []

    def generate_series(
        self, prompt: str, *, indexes: range, parallel: int, **request: Any
    ) -> Iterator[SeriesText]:
        self.calls.append(parallel)
        self.requests.append(request)
        if self.refusals:
            raise self.refusals.pop(0)
        if parallel > self.parallel:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "", [Violation("parallel", "is too many")])
        for begin in range(0, len(indexes), parallel):
            for index in reversed(indexes[begin : begin + parallel]):
                finish = "end" if index % 3 else "length"
                yield SeriesText(index, prompt * (index % 5), finish, index % 5)


def source(client: FakeClient, max_batch: int = 8, **options: Any) -> RemoteSource:
    generate = GenerateOptions(seed=4, **options)
    return RemoteSource(cast(Client, client), INFO, "a", generate, ["x"], max_batch)


BUSY = RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", [], 0.001)


@pytest.mark.parametrize(
    ("client", "calls"),
    [
        (FakeClient(8), [8]),
        (FakeClient(3), [8, 4, 2]),
        (FakeClient(8, BUSY), [8, 4]),
        (FakeClient(1, BUSY), [8, 4, 2, 1]),
    ],
)
def test_attempts_come_in_order_by_one_call_of_as_many_as_run(client: FakeClient, calls: list[int]) -> None:
    numbers = range(1, 100, 7)
    attempts = [attempt for some in source(client).attempts(numbers) for attempt in some]
    assert client.calls == calls
    assert attempts == [Attempt(i, "a" * (i % 5), i % 5 + (i % 3 != 0), i % 3 != 0) for i in numbers]
    request = client.requests[-1]
    assert (request["seed"], request["labels"], request["require_exact"]) == (4, ["x"], True)
    assert (request["bundle_digest"], request["execution_class"]) == ("d", "c")


def test_other_errors_are_the_callers() -> None:
    for code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED):
        with pytest.raises(RequestError, match=code.name):
            list(source(FakeClient(8, RequestError(code, "no"))).attempts(range(9)))


def test_long_attempts_are_fewer_at_the_same_time() -> None:
    assert source(FakeClient(8), max_batch=256, max_tokens=1000).parallel == 256
    assert source(FakeClient(8), max_batch=256, max_tokens=2**20).parallel == 4
    assert source(FakeClient(8), max_batch=256, max_tokens=2**24).parallel == 1


def test_what_can_end_an_attempt() -> None:
    assert source(FakeClient(8)).can_end
    assert not source(FakeClient(8), ignore_end=True).can_end
    assert not source(FakeClient(8), min_tokens=256).can_end
    assert source(FakeClient(8), ignore_end=True, stop="a").can_end
    assert source(FakeClient(8)).delimiter == "\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"forbidden_tokens": (2,)}, False),
        ({"allowed_tokens": (0, 1)}, False),
        ({"allowed_tokens": (0, 2)}, True),
        ({"ignore_end": True}, False),
        ({"ignore_end": True, "stop": ("x",)}, True),
        ({"min_tokens": 256}, False),
    ],
)
def test_an_attempt_can_end_where_its_end_can_be_chosen(options: dict[str, Any], expected: bool) -> None:
    assert source(FakeClient(8), **options).can_end is expected

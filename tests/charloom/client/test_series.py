"""Series where no server is: what is requested again after a call breaks off, and what comes of it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, RequestError, RetryConfig
from charloom.client.series import AsyncSeries, Series, SeriesText
from charloom.client.series_journal import SeriesJournal
from charloom.options import InvalidRequestError

QUICK = RetryConfig(initial_backoff=0.0, max_backoff=0.0)


class BrokenError(grpc.RpcError):
    """What gRPC raises, with what is read of it."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "gone"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class FakeServer:
    """Texts of two parts, the second of which is the index; a call breaks off after so many messages."""

    def __init__(self, parallel: int, *breaks: int | Exception, seed: int = 5) -> None:
        self.parallel = parallel
        self.breaks = list(breaks)
        self.seed = seed
        self.requests: list[pb.GenerateSeriesRequest] = []

    def call(self, request: pb.GenerateSeriesRequest, timeout: float | None) -> "FakeCall":
        self.requests.append(request)
        return FakeCall(self, request)

    def responses(self, request: pb.GenerateSeriesRequest) -> Iterator[pb.GenerateSeriesResponse]:
        """All there is, or what comes until the call breaks off."""
        left = self.breaks.pop(0) if self.breaks else 10**9
        if isinstance(left, Exception):
            raise left
        for number, response in enumerate(self._whole(request)):
            if number == left:
                raise BrokenError
            yield response

    def _whole(self, request: pb.GenerateSeriesRequest) -> Iterator[pb.GenerateSeriesResponse]:
        yield pb.GenerateSeriesResponse(
            start=pb.Start(model="m", bundle_digest="d", execution_class="c", seed=self.seed, exact=True)
        )
        indexes = [*request.indexes, *range(request.first, request.first + request.count * request.stride)]
        running: list[int] = []
        while indexes or running:
            running += indexes[: self.parallel - len(running)]
            indexes = [index for index in indexes if index not in running]
            yield pb.GenerateSeriesResponse()
            # The oldest goes on for longest.
            ended = [index for place, index in enumerate(running) if place or len(running) == 1]
            yield pb.GenerateSeriesResponse(
                indexes=running,
                texts=[f"({index}" if index in ended else "+" for index in running],
                token_counts=[2 if index in ended else 1 for index in running],
                finish_reasons=[4 if index in ended else 0 for index in running],
                token_ids=[token for index in running for token in ([index, 9] if index in ended else [8])],
                logprobs=[-0.5 for index in running for _ in range(2 if index in ended else 1)],
                end_logprobs=[-float(index) for index in ended],
            )
            running = [index for index in running if index not in ended]


class FakeCall:
    """A call, for both clients."""

    def __init__(self, server: FakeServer, request: pb.GenerateSeriesRequest) -> None:
        self._responses = server.responses(request)
        self.cancelled = False

    def __iter__(self) -> Iterator[pb.GenerateSeriesResponse]:
        return self._responses

    async def read(self) -> Any:
        try:
            return next(self._responses, grpc.aio.EOF)
        except BrokenError as error:
            metadata = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(error.code(), metadata, metadata, "gone") from error

    def cancel(self) -> None:
        self.cancelled = True


def texts_sync(server: FakeServer, indexes: range) -> tuple[list[SeriesText], Series]:
    series = Series(server.call, pb.GenerateSeriesRequest(parallel=3), indexes, None, QUICK, 1)
    return list(series), series


def texts_async(server: FakeServer, indexes: range) -> tuple[list[SeriesText], AsyncSeries]:
    async def run() -> tuple[list[SeriesText], AsyncSeries]:
        series = AsyncSeries(server.call, pb.GenerateSeriesRequest(parallel=3), indexes, None, QUICK, 1)
        return [text async for text in series], series

    return asyncio.run(run())


both = pytest.mark.parametrize("read", [texts_sync, texts_async])
Read = Callable[[FakeServer, range], Any]


@both
@pytest.mark.parametrize("breaks", [(), (4,), (4, 3, 5), (1, 1)])
def test_every_text_comes_once_and_whole_however_often_a_call_breaks_off(
    read: Read, breaks: tuple[int, ...]
) -> None:
    server = FakeServer(3, *breaks)
    texts, series = read(server, range(100, 120))
    assert sorted(text.index for text in texts) == list(range(100, 120))
    for text in texts:
        assert text.text.lstrip("+") == f"({text.index}"
        pluses = len(text.text) - len(f"({text.index}")
        assert text.token_ids == [8] * pluses + [text.index, 9]
        assert text.logprobs == [-0.5] * text.generated_tokens
        assert (text.finish, text.end_logprob) == ("end", -text.index)
    assert series.resumed == len(breaks)
    assert (series.model, series.seed, series.exact) == ("m", 5, True)
    for again in server.requests[1:]:
        assert (again.generate.seed, again.generate.bundle_digest) == (5, "d")
        assert (again.generate.execution_class, again.parallel, len(again.indexes) <= 3) == ("c", 3, True)


@both
def test_nothing_is_requested_where_nothing_is_missing(read: Read) -> None:
    server = FakeServer(3)
    assert read(server, range(0))[0] == []
    assert server.requests == []


@both
def test_a_call_that_ends_too_early_is_made_again(read: Read) -> None:
    class Forgetful(FakeServer):
        def responses(self, request: pb.GenerateSeriesRequest) -> Iterator[pb.GenerateSeriesResponse]:
            yield from list(super().responses(request))[: 3 if len(self.requests) < 3 else None]

    texts, series = read(Forgetful(3), range(9))
    assert sorted(text.index for text in texts) == list(range(9))
    assert series.resumed == 2


@both
def test_a_refusal_before_the_first_response_is_for_the_caller(read: Read) -> None:
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT):
        with pytest.raises(RequestError, match=code.name):
            read(FakeServer(3, BrokenError(code)), range(9))


def test_a_reader_who_stops_aborts_the_call() -> None:
    calls: list[FakeCall] = []
    server = FakeServer(3)

    def start(request: pb.GenerateSeriesRequest, timeout: float | None) -> FakeCall:
        calls.append(server.call(request, timeout))
        return calls[-1]

    series = Series(start, pb.GenerateSeriesRequest(), range(9), None, QUICK, 1)
    for _ in series:
        break
    assert [call.cancelled for call in calls] == [True]


@given(
    indexes=st.builds(range, st.integers(0, 2**64 - 1), st.just(2**64), st.integers(2**60, 2**64)),
    parallel=st.integers(1, 5),
    random=st.randoms(use_true_random=False),
)
def test_a_journal_keeps_no_more_than_runs_at_the_same_time(
    indexes: range, parallel: int, random: Any
) -> None:
    journal, queue, running = SeriesJournal(indexes), list(indexes), []
    while journal.left:
        running += queue[: parallel - len(running)]
        queue = [index for index in queue if index not in running]
        ended = running.pop(random.randrange(len(running)))
        journal.finish(ended)
        assert len(journal.unfinished) < parallel
        request = pb.GenerateSeriesRequest()
        journal.fill(request)
        rest = range(request.first, request.first + request.count * request.stride, request.stride or 1)
        assert sorted([*request.indexes, *rest]) == sorted(running + queue)
    assert not running + queue


@pytest.mark.parametrize("indexes", [range(-1, 3), range(3, 0, -1), range(2**64, 2**64 + 1)])
def test_indexes_that_no_text_has_are_refused_before_any_call(indexes: range) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequestError, match="indexes must count up"):
        client.generate_series(indexes=indexes)


def test_a_server_that_is_gone_is_an_error_with_a_cause() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(RequestError, match="UNAVAILABLE"):
        list(client.generate_series(indexes=range(3)))

    async def run() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            async for _ in client.generate_series(indexes=range(3)):
                pass

    with pytest.raises(RequestError, match="UNAVAILABLE"):
        asyncio.run(run())

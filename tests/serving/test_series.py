"""Calls for series of texts: each is that of a call of its own, and one message a burst has what all got."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client import RequestError
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from charloom.vocabulary import CharacterVocabulary
from serving.engine.config import SchedulerConfig
from serving.engine.sampled_tokens import no_sampled_tokens
from serving.engine.stream import Stream
from serving.engine.text_series import MAX_HELD
from serving.engine.update import Finish, Update
from serving.model import Model
from serving.rpc.limits import MAX_BYTES
from serving.rpc.series import SeriesParts
from serving.rpc.servicer import Servicer
from tests.serving.conftest import LoadOnce
from tests.serving.golden import FOLDER
from tests.serving.in_process import connected
from tests.serving.records import LABELLED, record_model
from tests.serving.test_calls import NARROW
from tests.serving.test_servicer import send_heartbeats

Talk = Callable[[CharloomServiceStub, Servicer], Awaitable[None]]


@pytest.fixture(scope="module")
def model(load_once: LoadOnce) -> Model:
    return load_once(FOLDER / "lstm", "float32")


def talk(model: Model, talk: Talk, **scheduling: Any) -> None:
    """Serves a model and calls it; afterwards nothing may be held of the calls."""

    async def run() -> None:
        async with (
            asyncio.timeout(60),
            connected(model, SchedulerConfig(**scheduling), options=NARROW) as (stub, servicer),
        ):
            await talk(stub, servicer)
            engine = servicer.models.find("").engine.engine
            while not (servicer.idle and engine.empty):
                await asyncio.sleep(0.01)
            assert engine.slots.used == engine.waiting == 0

    asyncio.run(run())


class Received:
    """The texts of a series as they arrive."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = defaultdict(str)
        self.tokens: dict[int, list[int]] = defaultdict(list)
        self.logprobs: dict[int, list[float]] = defaultdict(list)
        self.finishes: dict[int, Any] = {}
        self.end_logprobs: dict[int, float] = {}
        self.parts: dict[int, int] = defaultdict(int)
        self.starts: list[pb.Start] = []
        self.messages = 0

    def take(self, response: pb.GenerateSeriesResponse) -> None:
        """Adds a response."""
        self.messages += 1
        if response.HasField("start"):
            self.starts.append(response.start)
        assert len(set(response.indexes)) == len(response.indexes)
        ids, logprobs = iter(response.token_ids), iter(response.logprobs)
        ends = iter(response.end_logprobs)
        columns = (response.indexes, response.texts, response.token_counts, response.finish_reasons)
        for index, text, count, finish in zip(*columns, strict=True):
            assert index not in self.finishes, "nothing comes after the end"
            self.texts[index] += text
            self.parts[index] += 1
            self.tokens[index] += [next(ids) for _ in range(count if response.token_ids else 0)]
            self.logprobs[index] += [next(logprobs) for _ in range(count if response.logprobs else 0)]
            if finish:
                self.finishes[index] = finish
            if finish == pb.FINISH_REASON_END and response.end_logprobs:
                self.end_logprobs[index] = next(ends)
        assert [*ids, *logprobs, *ends] == []

    async def read(self, call: Any) -> "Received":
        """Reads a call to its end."""
        while (response := await call.read()) is not grpc.aio.EOF:
            self.take(response)
        return self


async def alone(stub: CharloomServiceStub, generate: pb.GenerateRequest, index: int) -> Any:
    """What a call for a single text gets with the seed of an index."""
    request = pb.GenerateRequest()
    request.CopyFrom(generate)
    request.seed = (generate.seed + index) % 2**64
    responses = [response async for response in stub.Generate(request)]
    finish = responses[-1].finish
    return (
        "".join(response.text for response in responses),
        [token for response in responses for token in response.token_ids],
        [logprob for response in responses for logprob in response.logprobs],
        finish.reason,
        finish.end_logprob if finish.HasField("end_logprob") else None,
    )


@pytest.mark.parametrize("whole", [False, True])
def test_hundreds_of_texts_over_a_few_slots_are_those_of_single_calls(model: Model, whole: bool) -> None:
    generate = pb.GenerateRequest(
        prompt="a ship", seed=2**64 - 5, max_tokens=30, stop=["e"], token_ids=True, logprobs=0
    )
    request = pb.GenerateSeriesRequest(
        generate=generate, indexes=[7, 1000], first=2**40, stride=8, count=300, parallel=5, whole=whole
    )
    indexes = [7, 1000, *range(2**40, 2**40 + 8 * 300, 8)]

    async def ask(stub: CharloomServiceStub, _: Servicer) -> None:
        received = await Received().read(stub.GenerateSeries(request))
        assert sorted(received.finishes) == sorted(indexes)
        [start] = received.starts
        assert (start.seed, start.exact, start.model) == (generate.seed, True, model.name)
        for index in indexes[:20] + indexes[-3:]:
            expected = await alone(stub, generate, index)
            found = (received.texts[index], received.tokens[index], received.logprobs[index])
            assert (*found, received.finishes[index], None) == expected
        assert not whole or set(received.parts.values()) == {1}
        assert len(set(received.finishes.values())) == 2

    talk(model, ask, max_streams=3)


def test_one_message_a_burst_holds_what_all_texts_got(model: Model) -> None:
    request = pb.GenerateSeriesRequest(
        generate=pb.GenerateRequest(seed=1, max_tokens=40), count=200, parallel=200
    )

    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        received = await Received().read(stub.GenerateSeries(request))
        metrics = servicer.metrics.registry
        bursts = metrics.get_sample_value("charloom_burst_rows_count", {"model": model.name})
        tokens = metrics.get_sample_value("charloom_generated_tokens_total", {"model": model.name})
        assert len(received.texts) == 200
        assert bursts is not None
        assert received.messages <= 1 + bursts
        assert tokens is not None
        assert tokens >= 200 * 40
        await asyncio.sleep(0)

    talk(model, ask, max_burst=8)


def test_records_end_with_their_labels(model: Model) -> None:
    generate = pb.GenerateRequest(seed=3, max_tokens=50, logprobs=0, labels=["loud", "m"])
    request = pb.GenerateSeriesRequest(generate=generate, count=40, parallel=9, whole=True)

    async def ask(stub: CharloomServiceStub, _: Servicer) -> None:
        received = await Received().read(stub.GenerateSeries(request))
        assert set(received.finishes) == set(range(40))
        assert received.end_logprobs
        for index in range(40):
            text, _, logprobs, finish, end_logprob = await alone(stub, generate, index)
            assert (received.texts[index], received.logprobs[index]) == (text, logprobs)
            assert (received.finishes[index], received.end_logprobs.get(index)) == (finish, end_logprob)

    talk(record_model(LABELLED), ask)


def test_a_series_goes_on_from_a_state(model: Model) -> None:
    begin = pb.GenerateRequest(prompt="a ship", max_tokens=5, seed=1, return_state=True)

    async def ask(stub: CharloomServiceStub, _: Servicer) -> None:
        *_, last = [response async for response in stub.Generate(begin)]
        generate = pb.GenerateRequest(state=last.state.token, prompt=" s", seed=9, max_tokens=7)
        received = await Received().read(
            stub.GenerateSeries(pb.GenerateSeriesRequest(generate=generate, count=9, parallel=2))
        )
        for index in range(9):
            assert received.texts[index] == (await alone(stub, generate, index))[0]

    talk(model, ask)


def test_a_client_that_goes_frees_all_slots(model: Model) -> None:
    request = pb.GenerateSeriesRequest(
        generate=pb.GenerateRequest(max_tokens=1_000_000), count=1_000_000, parallel=7
    )

    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        call = stub.GenerateSeries(request)
        while not (await call.read()).texts:
            pass
        assert servicer.models.find("").engine.engine.slots.used == 7
        call.cancel()

    talk(model, ask)


def test_a_client_that_reads_nothing_has_no_more_texts_begun(model: Model) -> None:
    request = pb.GenerateSeriesRequest(
        generate=pb.GenerateRequest(max_tokens=30, token_ids=True, logprobs=0), count=2**32 - 1, parallel=8
    )

    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        call = stub.GenerateSeries(request)
        assert (await call.read()).HasField("start")
        [streams] = servicer.running
        assert streams.series is not None
        begun = -1
        while begun != streams.series.begun:
            begun = streams.series.begun
            await asyncio.sleep(0.5)
        assert not servicer.models.find("").engine.engine.ready, "it waits for the reader"
        while streams.series.begun == begun:
            await call.read()
        call.cancel()

    talk(model, ask, buffer_tokens=32)


def test_a_server_that_shuts_down_begins_no_more_and_finishes_what_runs(model: Model) -> None:
    request = pb.GenerateSeriesRequest(
        generate=pb.GenerateRequest(max_tokens=50, seed=1), count=2**32 - 1, parallel=8
    )

    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        call, received = stub.GenerateSeries(request), Received()
        while len(received.finishes) < 20:
            received.take(await call.read())
        servicer.drain()
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as caught:
            await received.read(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert RequestError.of(caught.value).retry_after
        assert set(received.finishes) == set(received.texts) == set(range(len(received.texts)))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GenerateSeries(request).read()

    talk(model, ask)


def test_a_series_that_waits_sends_heartbeats(model: Model) -> None:
    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        running = stub.Generate(pb.GenerateRequest(max_tokens=1_000_000))
        while not (await running.read()).text:
            pass
        series = stub.GenerateSeries(
            pb.GenerateSeriesRequest(generate=pb.GenerateRequest(max_tokens=1), count=2)
        )
        heartbeats = asyncio.create_task(send_heartbeats(servicer))
        assert (await series.read()).HasField("start")
        assert await series.read() == pb.GenerateSeriesResponse()
        heartbeats.cancel()
        running.cancel()
        assert len((await Received().read(series)).finishes) == 2

    talk(model, ask, max_streams=1)


def test_a_deadline_ends_all(model: Model) -> None:
    request = pb.GenerateSeriesRequest(generate=pb.GenerateRequest(max_tokens=1000), count=10**6)

    async def ask(stub: CharloomServiceStub, _: Servicer) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Received().read(stub.GenerateSeries(request, timeout=0.5))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    talk(model, ask)


REFUSED: dict[str, dict[str, Any]] = {
    "count must be at least 1": {},
    "parallel must be 1 to 256, not 257": {"count": 300, "parallel": 257},
    "parallel must be 1 to 256, not 0": {"count": 1, "parallel": 0},
    "stride must be at least 1": {"count": 1, "stride": 0},
    "first and the indexes after it": {"count": 2, "first": 2**64 - 1},
    "indexes must be at most 16384": {"indexes": range(16385)},
    "n must be absent": {"count": 1, "generate": pb.GenerateRequest(n=1)},
    "return_state must be absent": {"count": 1, "generate": pb.GenerateRequest(return_state=True)},
    "resume must be absent": {"count": 1, "generate": pb.GenerateRequest(resume=True, state=b"x")},
    "replay must be absent": {"count": 1, "generate": pb.GenerateRequest(replay=[1])},
    "logprobs must be 0 or absent": {"count": 1, "generate": pb.GenerateRequest(logprobs=1)},
    "prompt has character": {"count": 1, "generate": pb.GenerateRequest(prompt="\x01")},
    "parallel must be at most 20 here, not 21": {"count": 40, "parallel": 21},
}


def test_what_no_series_can_be_is_refused_by_name(model: Model) -> None:
    async def ask(stub: CharloomServiceStub, servicer: Servicer) -> None:
        for reason, fields in REFUSED.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GenerateSeries(pb.GenerateSeriesRequest(**fields)).read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert reason in str(caught.value.details())
            assert RequestError.of(caught.value).violations[0].field == reason.split()[0]
        full = pb.GenerateSeriesRequest(generate=pb.GenerateRequest(max_tokens=10**6), count=99, parallel=20)
        call = stub.GenerateSeries(full)
        await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GenerateSeries(full).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert RequestError.of(caught.value).retry_after
        call.cancel()

    talk(model, ask, max_streams=15, max_waiting=5)


def test_a_message_is_no_larger_than_clients_take(ask: Any, alphabet: CharacterVocabulary) -> None:
    streams = [Stream(ask(), alphabet, index=i) for i in range(10)]
    parts = SeriesParts(pb.GenerateSeriesRequest())
    updates = [Update(stream, ["x" * (MAX_BYTES // 16)]) for stream in streams]
    responses = list(parts.responses(updates))
    assert [list(response.indexes) for response in responses] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    [huge] = parts.responses([Update(streams[0], ["x" * MAX_BYTES])])
    assert huge.texts == ["x" * MAX_BYTES]


def test_a_long_text_is_not_held_back_whole(ask: Any, alphabet: CharacterVocabulary) -> None:
    stream = Stream(ask(), alphabet)
    parts = SeriesParts(pb.GenerateSeriesRequest(whole=True))
    tokens = no_sampled_tokens()
    thousand = type(tokens)(
        alphabet.encode("a" * 1000),
        *(getattr(tokens, name) for name in ("logprobs", "top_tokens")),
        tokens.top_logprobs,
    )
    sent = [list(parts.responses([Update(stream, ["a" * 1000], thousand)])) for _ in range(9)]
    assert [bool(responses) for responses in sent] == [False] * 4 + [True] + [False] * 4
    assert sent[4][0].token_counts[0] > MAX_HELD
    [last] = parts.responses([Update(stream, finish=Finish.STOP)])
    assert (last.texts, last.finish_reasons) == (["a" * 4000], [pb.FINISH_REASON_STOP])

"""Calls over a real connection to a servicer that is made up."""

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from hashlib import sha256

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

import charloom.v1.charloom_pb2 as pb
from charloom.client import RequestError
from charloom.v1.charloom_pb2_grpc import (
    CharloomServiceServicer,
    CharloomServiceStub,
    add_CharloomServiceServicer_to_server,
)
from serving.errors import OverloadedError, SlowReaderError
from serving.logs import FIELDS
from serving.metrics import Metrics
from serving.rpc.calls import Calls, current_call, to_id
from serving.rpc.security.callers import Callers
from serving.rpc.slow_reader import Watch
from serving.rpc.status import abort

NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
"""Options of a connection that buffers little."""
SECRETS = ("swordfish", "sesame")


class Answers(CharloomServiceServicer):
    """Generates n pieces of text where n tokens are wanted; fails if it is told to."""

    def __init__(self):
        self.sent = 0
        self.ends = []
        self.callers = []

    async def Generate(self, request, context):  # noqa: N802
        call = current_call()
        call.model = "made-up"
        self.callers.append(current_call().caller.name)
        try:
            if request.prompt == "fail":
                await abort(context, OverloadedError(1, 1.0))
            if request.prompt == "break":
                int(b"swordfish")
            for _ in range(request.max_tokens):
                yield pb.GenerateResponse(text="x" * 1000)
                call.tokens += 1
                self.sent += 1
                await asyncio.sleep(0)
            if request.prompt == "wait":
                await asyncio.sleep(60)
            self.ends.append(None)
        except BaseException as error:
            self.ends.append(type(error))
            raise

    async def GenerateSeries(self, request, context):  # noqa: N802
        yield pb.GenerateSeriesResponse(start=pb.Start())
        if request.count > 1:
            await asyncio.sleep(60)

    async def GetModel(self, request, context):  # noqa: N802
        return pb.GetModelResponse(model=pb.Model(name=current_call().caller.name))


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def connect(answers):
    """Serves the answers and connects to them: `async with connect(callers) as (stub, channel, metrics)`."""

    @asynccontextmanager
    async def connect(callers=None, reader_timeout=60.0, options=()):
        metrics = Metrics()
        calls = Calls(callers or Callers(), metrics, reader_timeout)
        server = grpc.aio.server(interceptors=(calls,))
        add_CharloomServiceServicer_to_server(answers, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            yield CharloomServiceStub(channel), channel, metrics
        await server.stop(1)
        assert not calls.places.held, "a call is over, and its streams are still counted"

    return connect


@pytest.fixture
def alice(tmp_path):
    """Callers of whom alice's token is sesame, and who may have two streams."""
    path = tmp_path / "callers.toml"
    path.write_text(f'[alice]\ntoken_sha256 = "{sha256(b"sesame").hexdigest()}"\nmax_streams = 2\n')
    return Callers(path)


@pytest.fixture
def log(caplog):
    """What was logged of calls."""
    caplog.set_level(logging.INFO, "serving.rpc.calls")

    def fields(*names):
        said = [getattr(record, FIELDS) for record in caplog.records if hasattr(record, FIELDS)]
        return [tuple(fields[name] for name in names) for fields in said]

    yield fields
    for secret in SECRETS:
        assert secret not in caplog.text


BEARER = (("authorization", "Bearer sesame"),)


async def drain(call):
    """Reads all there is."""
    while await call.read() is not grpc.aio.EOF:
        pass


def test_an_id_is_kept_if_it_is_sane():
    for sane in ("a", "7f0c-33/x:1", "!~", "x" * 64):
        assert to_id(sane) == sane
    made = {to_id(insane) for insane in (None, "", "a b", "x" * 65, "a\nb", "é", "\x7f", b"bytes")}
    assert len(made) == 8
    assert all(re.fullmatch("[0-9a-f]{16}", made_id) for made_id in made)


def test_a_call_has_an_id_that_its_client_and_the_log_know(connect, log):
    async def run():
        async with connect() as (stub, _, _):
            call = stub.Generate(pb.GenerateRequest(max_tokens=3), metadata=(("x-request-id", "mine"),))
            assert len([response async for response in call]) == 3
            assert dict(await call.initial_metadata())["x-request-id"] == "mine"
            call = stub.GetModel(pb.GetModelRequest(), metadata=(("x-request-id", "not mine"),))
            await call
            given = dict(await call.initial_metadata())["x-request-id"]
            assert re.fullmatch("[0-9a-f]{16}", given)
            return given

    made = asyncio.run(run())
    assert log("request_id", "method", "model", "outcome", "tokens", "caller") == [
        ("mine", "Generate", "made-up", "ok", 3, ""),
        (made, "GetModel", "", "ok", 0, ""),
    ]


def test_a_line_is_readable(connect, caplog, alice):
    caplog.set_level(logging.INFO, "serving.rpc.calls")

    async def run():
        async with connect(alice) as (stub, _, _):
            call = stub.Generate(
                pb.GenerateRequest(max_tokens=3), metadata=(*BEARER, ("x-request-id", "mine"))
            )
            assert len([response async for response in call]) == 3

    asyncio.run(run())
    [line] = caplog.messages
    assert re.fullmatch(r"Generate made-up for alice: ok, 3 tokens, [\d.e-]+ s \(request mine\)", line)


def test_a_refused_call_can_be_repeated_by_grpc_itself(connect, log):
    """It gets no initial metadata, and its id with the trailing ones, beside the details."""

    async def run():
        async with connect() as (stub, _, _):
            call = stub.Generate(pb.GenerateRequest(prompt="fail"), metadata=(("x-request-id", "mine"),))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert dict(caught.value.initial_metadata()) == {}
            assert dict(caught.value.trailing_metadata())["x-request-id"] == "mine"
            assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
            assert RequestError.of(caught.value).retry_after == 1

    asyncio.run(run())
    assert log("request_id", "outcome") == [("mine", "resource_exhausted")]


def test_the_log_tells_how_calls_end(connect, log, answers):
    async def run():
        async with connect() as (stub, _, _):
            call = stub.Generate(pb.GenerateRequest(prompt="wait", max_tokens=1))
            await call.read()
            call.cancel()
            while not answers.ends:
                await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Generate(pb.GenerateRequest(prompt="fail")).read()

    asyncio.run(run())
    assert log("method", "outcome") == [("Generate", "cancelled"), ("Generate", "resource_exhausted")]


def test_a_defect_is_told_to_the_log_without_what_it_quotes(connect, log, caplog):
    async def run():
        async with connect() as (stub, _, _):
            call = stub.Generate(pb.GenerateRequest(prompt="break"), metadata=(("x-request-id", "mine"),))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert caught.value.details() == "the server failed; its log says where, of request mine"

    asyncio.run(run())
    assert log("outcome") == [("internal",)]
    assert "request mine: ValueError at" in caplog.text
    assert "test_calls.py" in caplog.text


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer swordfish"),)])
def test_without_a_valid_token_only_health_answers(connect, log, alice, answers, metadata):
    async def run():
        async with connect(alice) as (stub, channel, metrics):
            for call in (
                stub.GetModel(pb.GetModelRequest(), metadata=metadata),
                stub.Generate(pb.GenerateRequest(prompt="swordfish"), metadata=metadata).read(),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match="needs a valid token") as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
            assert metrics.rejections.labels("", "unauthenticated")._value.get() == 2

    asyncio.run(run())
    assert answers.callers == []
    assert sorted(log("method", "caller", "outcome")) == [
        ("Generate", "", "unauthenticated"),
        ("GetModel", "", "unauthenticated"),
    ]


def test_the_servicer_knows_who_calls(connect, log, alice, answers):
    async def run():
        async with connect(alice) as (stub, _, _):
            answer = await stub.GetModel(pb.GetModelRequest(), metadata=BEARER)
            assert answer.model.name == "alice"
            await stub.Generate(pb.GenerateRequest(max_tokens=1), metadata=BEARER).read()

    asyncio.run(run())
    assert answers.callers == ["alice"]
    assert log("caller") == [("alice",)] * 2


def test_a_caller_has_no_more_streams_than_they_may(connect, log, alice):
    async def run():
        async with connect(alice) as (stub, _, metrics):

            def generate(n, prompt):
                request = pb.GenerateRequest(prompt=prompt, n=n, max_tokens=1)
                return stub.Generate(request, metadata=BEARER)

            running = generate(2, "wait")
            await running.read()
            with pytest.raises(grpc.aio.AioRpcError, match="all of the 2 streams") as caught:
                await generate(1, "").read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert RequestError.of(caught.value).retry_after == 1
            with pytest.raises(grpc.aio.AioRpcError, match="n must be at most 2 for you, not 3") as caught:
                await generate(3, "").read()
            assert [violation.field for violation in RequestError.of(caught.value).violations] == ["n"]
            assert metrics.rejections.labels("", "resource_exhausted")._value.get() == 1
            running.cancel()
            while "cancelled" not in [outcome for (outcome,) in log("outcome")]:
                await asyncio.sleep(0.01)
            await generate(2, "").read()

    asyncio.run(run())


def test_a_series_counts_as_the_texts_that_run_at_the_same_time(connect, log, alice):
    async def run():
        async with connect(alice) as (stub, _, _):

            def generate(count, parallel):
                request = pb.GenerateSeriesRequest(count=count, parallel=parallel)
                return stub.GenerateSeries(request, metadata=BEARER)

            with pytest.raises(grpc.aio.AioRpcError, match="parallel must be at most 2 for you, not 3"):
                await generate(9, 3).read()
            with pytest.raises(grpc.aio.AioRpcError, match="parallel must be at most 2 for you, not 64"):
                await generate(99, None).read()
            series = generate(99, 2)
            await series.read()
            with pytest.raises(grpc.aio.AioRpcError, match="all of the 2 streams"):
                await generate(1, 64).read()
            series.cancel()
            while "cancelled" not in [outcome for (outcome,) in log("outcome")]:
                await asyncio.sleep(0.01)
            await generate(1, 64).read()

    asyncio.run(run())


def test_a_slow_reader_loses_its_stream_and_delays_nobody(connect, log, answers):
    async def run():
        async with connect(reader_timeout=0.5, options=NARROW) as (stub, channel, _):
            await channel.channel_ready()
            slow = stub.Generate(pb.GenerateRequest(max_tokens=1000, prompt="swordfish"))
            await slow.read()
            quick = stub.Generate(pb.GenerateRequest(max_tokens=100))
            assert len([response async for response in quick]) == 100
            while len(answers.ends) < 2:
                await asyncio.sleep(0.01)
            assert answers.ends == [None, GeneratorExit]
            assert log("outcome") == [("ok",), ("aborted",)]
            with pytest.raises(grpc.aio.AioRpcError, match=r"slow reader: .* for 0.5 s") as caught:
                await drain(slow)
            assert caught.value.code() is grpc.StatusCode.ABORTED

    asyncio.run(run())


@pytest.mark.parametrize("reader_timeout", [0.3, 60])
def test_a_client_that_goes_without_reading_leaves_no_traceback(
    connect, log, caplog, answers, reader_timeout
):
    async def run():
        async with connect(reader_timeout=reader_timeout, options=NARROW) as (stub, channel, _):
            call = stub.Generate(pb.GenerateRequest(max_tokens=1000))
            await call.read()
            sent = 0
            while sent < answers.sent or (reader_timeout < 1 and not answers.ends):  # until nothing moves
                sent = answers.sent
                await asyncio.sleep(0.1)
            await channel.close()
            while not answers.ends:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    asyncio.run(run())
    assert log("outcome") == [("aborted" if reader_timeout < 1 else "cancelled",)]
    assert "Traceback" not in caplog.text


def test_a_write_that_somebody_else_cancels_is_cancelled():
    async def run(cancel_after, expire_after):
        async def call():
            with Watch(expire_after) as watch:
                await watch.over(asyncio.sleep(0))
                await watch.over(asyncio.sleep(9))

        task = asyncio.create_task(call())
        await asyncio.sleep(cancel_after)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(0.05, 60))
    with pytest.raises(SlowReaderError):
        asyncio.run(run(0.3, 0.05))


def test_a_reader_that_goes_on_is_not_slow(connect, answers, monkeypatch):
    """By a clock that goes on as the reader does, whatever a piece takes on this machine."""
    count, pause = 0, 0.003
    for module in ("serving.rpc.slow_reader", "charloom.client.watchdog"):
        monkeypatch.setattr(f"{module}.monotonic", lambda: count * pause)

    async def run():
        nonlocal count
        async with connect(reader_timeout=0.05, options=NARROW) as (stub, _, _):
            call = stub.Generate(pb.GenerateRequest(max_tokens=60))
            async for _ in call:
                count += 1
                await asyncio.sleep(pause)

    asyncio.run(run())
    assert count == 60
    assert answers.ends == [None]

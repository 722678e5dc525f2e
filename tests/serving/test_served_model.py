"""A served model reports its own health and metrics, which go with it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from charloom.bundle import Bundle
from charloom.burst import Feeds, GraphKind
from serving.engine.config import SchedulerConfig
from serving.engine.host_runner import HostRunner
from serving.engine.request import Request
from serving.engine.runner import RunError
from serving.errors import StalledError
from serving.metrics import Metrics, ModelMetrics
from serving.model import Model
from serving.models import DuplicateModelError, Models
from serving.rpc.convert import RequestLimits
from serving.rpc.security.sealing import Key, Sealer
from serving.served_model import ServedModel
from serving.server import LIVENESS, SERVICE, SERVING, Server, ServerConfig, health_service
from tests.serving.conftest import LoadOnce
from tests.serving.golden import FOLDER
from tests.serving.test_thread import read

SCHEDULING = SchedulerConfig(max_streams=4, max_waiting=4)


@pytest.fixture(scope="module")
def model(load_once: LoadOnce) -> Model:
    return load_once(FOLDER / "lstm", "float32")


def named(model: Model, name: str) -> Model:
    """The model under another name."""
    bundle = model.bundle
    manifest = msgspec.structs.replace(bundle.manifest, name=name)
    return Model(Bundle(bundle.path, manifest, bundle.digest, bundle.vocabulary), model.executor)


def exported(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def request(model: Model, tokens: int = 20) -> Request:
    return Request(model.bundle.vocabulary.encode("the "), tokens, 1)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every burst fails."""

    def fail(self: HostRunner, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        raise RunError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(HostRunner, "run", fail)
        yield


def test_its_metrics_count_what_it_does_and_go_when_it_stops(model: Model) -> None:
    metrics = Metrics()
    ones, others = (ServedModel(named(model, name), SCHEDULING, metrics) for name in ("one", "other"))

    async def serve() -> None:
        for served in (ones, others):
            served.start()
            await read(served.engine.submit_texts(request(model), None))
            timer = served.metrics.token_timer()
            timer.observe(1)
            timer.observe(2)
            served.metrics.count_request("ok")
            served.metrics.count_rejection("resource_exhausted")
        said = exported(metrics)
        for name in ("one", "other"):
            assert f'charloom_generated_tokens_total{{model="{name}"}} 20.0' in said
            assert f'charloom_prompt_tokens_total{{model="{name}"}} 4.0' in said
            assert f'charloom_slots{{model="{name}"}} 4.0' in said
            assert f'charloom_requests_total{{model="{name}",outcome="ok"}} 1.0' in said
            assert f'model="{name}",precision="float32",version="1"}} 1.0' in said
        await ones.stop()
        assert 'model="one"' not in exported(metrics)
        for line in said.splitlines():
            if 'model="other"' in line and "_created" not in line:
                assert line in exported(metrics)
        late = ones.metrics.token_timer()
        late.observe(1)
        ones.metrics.count_request("cancelled")
        assert 'model="one"' not in exported(metrics), "what ends later is not exported again"
        await others.stop()
        assert "model=" not in exported(metrics)

    asyncio.run(asyncio.wait_for(serve(), 60))


def test_what_is_counted_of_no_model_stays() -> None:
    metrics = Metrics()
    metrics.rejections.labels("", "not_found").inc()
    of_model = ModelMetrics(metrics, "m")
    of_model.count_rejection("not_found")
    of_model.close()
    assert 'charloom_rejections_total{model="",reason="not_found"} 1.0' in exported(metrics)
    assert 'model="m"' not in exported(metrics)


def test_a_model_whose_bursts_fail_is_not_ready_and_recovers(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.thread.MAX_SLEEP", 0.02)

    async def serve() -> None:
        served = ServedModel(model, SCHEDULING, Metrics())
        served.start()
        assert served.ready
        with failing(monkeypatch):
            served.engine.submit_texts(request(model), None)
            while served.ready:
                await asyncio.sleep(0.01)
            served.check_health(patience=60)
            assert served.alive
            while served.alive:
                served.check_health(patience=0.2)
                await asyncio.sleep(0.05)
        while not served.ready:
            served.check_health(patience=60)
            await asyncio.sleep(0.05)
        await served.stop()
        served.check_health(patience=60)
        assert not served.alive

    asyncio.run(asyncio.wait_for(serve(), 60))


def test_streams_of_a_model_that_is_stuck_fail_at_the_health_check(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve() -> None:
        served = ServedModel(model, SCHEDULING, Metrics())
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        run = HostRunner.run

        def hang(self: HostRunner, *burst: Any) -> Feeds:
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
            return run(self, *burst)

        monkeypatch.setattr(HostRunner, "run", hang)
        served.start()
        reader = served.engine.submit_texts(request(model), None)
        while served.alive:
            served.check_health(patience=0.2)
            await asyncio.sleep(0.05)
        _, end = await read(reader)
        assert isinstance(end, StalledError)
        released.set()
        await served.stop()

    asyncio.run(asyncio.wait_for(serve(), 60))


def test_the_health_service_tells_models_apart(model: Model) -> None:
    metrics = Metrics()
    ones, others = (ServedModel(named(model, name), SCHEDULING, metrics) for name in ("one", "other"))
    sealer = Sealer([Key("a", bytes(32))], lifetime=0)
    server = Server(Models([ones, others]), metrics, ServerConfig(), RequestLimits(), sealer)
    services = ("", SERVICE, LIVENESS, health_service("one"), health_service("other"))
    assert services[-1] == "charloom.v1.CharloomService/other"

    def healthy() -> list[bool]:
        server._set_health()
        return [server.health._statuses[name] == SERVING for name in services]

    assert healthy() == [True, True, True, True, True]
    others.alive = False
    assert healthy() == [False, False, False, True, False]
    others.alive = True
    others.engine.thread._failures = 3
    assert healthy() == [False, False, True, True, False]
    others.engine.thread._failures = 0
    server.servicer.drain()
    assert healthy() == [False, False, True, False, False]
    server.servicer.draining = False
    server.listening = False
    assert healthy() == [False, False, False, False, False]
    server.health.remove(health_service("one"))
    assert health_service("one") not in server.health._statuses


def test_two_models_of_one_name_are_refused(model: Model) -> None:
    with pytest.raises(DuplicateModelError, match="golden-lstm, golden-lstm"):
        Models([ServedModel(model, SCHEDULING, Metrics()) for _ in range(2)])

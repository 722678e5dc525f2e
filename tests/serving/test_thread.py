"""The engine's thread: asleep, at work, stuck, failed, stopped; and the coroutines that read from it."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from charloom.burst import Feeds, GraphKind
from serving.engine.async_engine import AsyncEngine, UpdateReader
from serving.engine.engine import StepReport
from serving.engine.runner import RunError
from serving.engine.thread import EngineThread
from serving.engine.update import Finish
from serving.errors import BurstError, DrainingError, StalledError
from tests.serving.conftest import AlphabetRunner, WrappedRunner

Make = Callable[..., Any]


def soon(condition: Callable[[], bool]) -> bool:
    """Whether something comes to hold within ten seconds."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


class Gate(WrappedRunner):
    """A runner that waits before every burst until it is opened."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.open = threading.Event()

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        self.open.wait(30)
        return self.inner.run(kind, feeds, slots)


def test_streams_of_a_stuck_engine_fail(make_engine: Make, ask: Make, runner: Any) -> None:
    async def main() -> None:
        gate = Gate(runner)
        engine = AsyncEngine(make_engine(gate), "test", lambda report: None)
        engine.start()
        reader = engine.submit_texts(ask(max_tokens=50), deadline=None)
        while engine.thread.healthy(patience=0.2):
            await asyncio.sleep(0.05)
        engine.fail_streams(StalledError(0.2))
        (update,) = await reader.next()
        assert isinstance(update.error, StalledError)
        reader.abort()
        gate.open.set()
        await engine.stop()
        assert engine.engine.slots.used == engine.engine.waiting == 0

    asyncio.run(main())


class Broken(AlphabetRunner):
    """A runner with a defect of its own."""

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        raise ZeroDivisionError


def test_alive_means_that_bursts_advance_or_nothing_is_runnable(
    make_engine: Make, ask: Make, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.thread.MAX_SLEEP", 60.0)
    gate, reports = Gate(runner), []
    engine = make_engine(gate)
    thread = EngineThread(engine, reports.append, "test")
    thread.start()
    assert soon(lambda: thread._asleep)
    time.sleep(0.15)
    assert thread.healthy(patience=0.1)  # asleep, however long
    engine.submit(ask())
    thread.wake()
    assert soon(lambda: not thread.healthy(patience=0.1))  # a burst does not end
    gate.open.set()
    assert soon(lambda: any(u.finish for r in reports for u in r.updates))
    assert soon(lambda: thread.healthy(patience=0.1))
    thread.stop()
    assert not thread.healthy(patience=60)


def test_a_defect_tells_every_stream_and_shows_in_the_health(
    make_engine: Make, ask: Make, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[StepReport] = []
    engine = make_engine(Broken())
    streams = {engine.submit(ask()) for _ in range(3)}
    thread = EngineThread(engine, reports.append, "test")
    thread.start()
    assert soon(lambda: not thread.alive)
    assert not thread.healthy(patience=60)
    failed = {u.stream for r in reports for u in r.updates if isinstance(u.error, BurstError)}
    assert failed == streams
    assert "ZeroDivisionError" in caplog.text


class Failing(WrappedRunner):
    """A runner whose bursts fail while it is told to."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.fails = True

    def run(self, kind: GraphKind, feeds: Feeds, slots: Sequence[int]) -> Feeds:
        if self.fails:
            raise RunError("injected")
        return self.inner.run(kind, feeds, slots)


def test_an_engine_whose_bursts_fail_finds_out_without_traffic_and_recovers_without(
    make_engine: Make,
    ask: Make,
    runner: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.engine.thread.MAX_SLEEP", 0.02)
    failing, reports = Failing(runner), []
    engine = make_engine(failing)
    thread = EngineThread(engine, reports.append, "test")
    thread.start()
    time.sleep(0.1)
    assert not thread.failing  # nothing was asked yet
    engine.submit(ask())
    thread.wake()
    assert soon(lambda: thread.failing)
    assert thread.healthy(patience=60)  # as patient with failures as with a burst that does not end
    assert soon(lambda: not thread.healthy(patience=0.1))
    failing.fails = False
    assert soon(lambda: not thread.failing)
    assert thread.healthy(patience=60)
    assert caplog.text.count("bursts in a row have failed") == 1
    assert engine.empty
    assert engine.slots.used == 0
    assert sum(len(report.updates) for report in reports) == 1  # a probe is nobody's
    thread.stop()


def test_bursts_that_fail_now_and_then_leave_an_engine_ready(
    make_engine: Make, ask: Make, poisoned: Any
) -> None:
    engine = make_engine(poisoned, max_streams=1)
    thread = EngineThread(engine, lambda _: None, "test")
    for prompt in "ayaya":
        engine.submit(ask(prompt))
    thread.start()
    assert soon(lambda: engine.empty)
    assert not thread.failing
    thread.stop()


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def read(reader: UpdateReader) -> tuple[str, Any]:
    """All the text of a single stream and how it ended."""
    text = ""
    while True:
        [update] = await reader.next()
        text += update.text
        if update.final:
            return text, update.error or update.finish


def test_streams_that_a_dead_engine_could_not_end_fail_at_the_health_check(
    make_engine: Make, ask: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = "of a text"

    def defect(*_: object) -> None:
        raise KeyError(words)

    async def scenario() -> None:
        inner = make_engine(Broken())
        monkeypatch.setattr(inner, "abandon", defect)
        engine = AsyncEngine(inner, "test", lambda _: None)
        engine.start()
        reader = engine.submit_texts(ask(), None)
        assert await asyncio.to_thread(soon, lambda: not engine.thread.alive)
        assert not engine.check_health(patience=60)
        _, end = await read(reader)
        assert isinstance(end, BurstError)
        await engine.stop()

    run(scenario())
    assert "KeyError" in caplog.text
    assert words not in caplog.text


def test_readers_get_their_own_text(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        engine = AsyncEngine(make_engine(), "test", lambda _: None)
        engine.start()
        readers = [engine.submit_texts(ask(letter, max_tokens=30), None) for letter in "amz"]
        texts = await asyncio.gather(*map(read, readers))
        assert [text[:3] for text, _ in texts] == ["bcd", "nop", "abc"]
        assert all(end is Finish.LENGTH and len(text) == 30 for text, end in texts)
        await engine.stop()
        with pytest.raises(DrainingError):
            engine.submit_texts(ask(), None)

    run(scenario())


def test_a_reader_of_several_texts_gets_each_apart(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        inner = make_engine(buffer_tokens=8)
        engine = AsyncEngine(inner, "test", lambda _: None)
        engine.start()
        reader = engine.submit_texts(ask("abc", max_tokens=30), None, n=3)
        texts, ends = dict.fromkeys(reader.streams, ""), {}
        while len(ends) < 3:
            updates = await reader.next()
            assert len({update.stream for update in updates}) == len(updates)
            for update in updates:
                texts[update.stream] += update.text
                if update.final:
                    ends[update.stream] = update.finish
        assert set(texts.values()) == {"defghijklmnopqrstuvwxyzabcdefg"}
        assert set(ends.values()) == {Finish.LENGTH}
        reader.abort()
        assert inner.empty
        await engine.stop()

    run(scenario())


def test_a_reader_that_comes_back_wakes_its_paused_stream(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        made: list[int] = []
        inner = make_engine(buffer_tokens=8)
        engine = AsyncEngine(inner, "test", lambda report: made.append(report.generated))
        engine.start()
        reader = engine.submit_texts(ask("a", max_tokens=100), None)
        assert await asyncio.to_thread(soon, lambda: sum(made) > 0 and not inner.ready)
        assert sum(made) < 30  # it has paused
        text, end = await read(reader)
        assert len(text) == 100
        assert end is Finish.LENGTH
        await engine.stop()

    run(scenario())


def test_aborting_a_reader_releases_its_slots(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        inner = make_engine(buffer_tokens=8)
        engine = AsyncEngine(inner, "test", lambda _: None)
        engine.start()
        readers = [engine.submit_texts(ask("a", max_tokens=1000), None) for _ in range(4)]
        await readers[0].next()
        for reader in readers:
            reader.abort()
        while inner.slots.used:
            await asyncio.sleep(0.01)
        assert inner.empty
        await engine.stop()

    run(scenario())


def test_stopping_tells_the_streams_that_are_left(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        engine = AsyncEngine(make_engine(buffer_tokens=8), "test", lambda _: None)
        engine.start()
        reader = engine.submit_texts(ask("a", max_tokens=1000), None)
        await reader.next()
        await engine.stop()
        _, end = await read(reader)
        assert isinstance(end, DrainingError)

    run(scenario())

"""Whatever ends a call, all updates of its streams come first."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from charloom.vocabulary import CharacterVocabulary
from serving.engine.async_engine import AsyncEngine
from serving.engine.request import Request
from serving.engine.stream import Stream
from serving.engine.update import Finish, Update
from serving.errors import BurstError, DrainingError, ServingError
from serving.rpc.call_streams import CallStreams, Submission

Make = Callable[..., Any]


class Reader:
    """A reader of made-up news."""

    def __init__(self, streams: list[Stream], *news: list[Update]) -> None:
        self.streams = streams
        self._news = list(news)

    async def next(self) -> list[Update]:
        return self._news.pop(0)


def streams_of(reader: Any) -> CallStreams:
    """The streams of a reader, of no model."""
    nothing: Any = None
    return CallStreams(Submission(nothing, nothing), reader)


async def heard(call: CallStreams) -> tuple[list[Update | None], ServingError | None]:
    """All updates, and the error they end with, if any."""
    updates: list[Update | None] = []
    try:
        async for update in call.updates():
            updates.append(update)
    except ServingError as error:
        return updates, error
    return updates, None


@pytest.fixture
def streams(ask: Callable[..., Request], alphabet: CharacterVocabulary) -> list[Stream]:
    return [Stream(ask(), alphabet) for _ in range(4)]


def test_an_error_comes_after_all_that_came_with_it(streams: list[Stream]) -> None:
    mute, failed, going, done = streams
    sooner, later = BurstError("the first"), BurstError("the second")
    words = [
        Update(failed, texts=["last words"], error=later),
        Update(going, texts=["on"]),
        Update(done, texts=["end"], finish=Finish.LENGTH),
    ]
    call = streams_of(Reader(streams, [Update(mute, error=sooner), *words]))
    assert asyncio.run(heard(call)) == (words, sooner)


def test_a_call_ends_with_its_last_stream_and_has_heartbeats(streams: list[Stream]) -> None:
    ends = [Update(stream, finish=Finish.STOP) for stream in streams]
    call = streams_of(Reader(streams, ends[:3], [], ends[3:]))
    assert asyncio.run(heard(call)) == ([*ends[:3], None, ends[3]], None)


def test_every_text_gets_its_state_from_an_engine_that_ends(make_engine: Make, ask: Make) -> None:
    async def scenario() -> None:
        engine = AsyncEngine(make_engine(buffer_tokens=8), "test", lambda _: None)
        engine.start()
        request = Request(ask().prompt, 1000, 0, returns_state=True)
        call = streams_of(engine.submit_texts(request, None, n=3))
        while any(stream.released < 8 for stream in call.index):
            await asyncio.sleep(0.01)
        await engine.stop()
        updates, error = await heard(call)
        assert isinstance(error, DrainingError)
        words = {call.index[update.stream]: update for update in updates if update is not None}
        assert sorted(words) == [0, 1, 2]
        for update in words.values():
            assert update.text.startswith("bcdefghi")
            assert update.snapshot is not None
            assert update.snapshot.position == update.position == 1 + len(update.text)

    asyncio.run(asyncio.wait_for(scenario(), 30))

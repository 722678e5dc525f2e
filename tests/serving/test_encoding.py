"""Long texts are encoded in a thread of their own: the event loop goes on with the streams of others."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import CharacterVocabulary, Tokens
from serving.engine.config import SchedulerConfig
from serving.rpc.encoding import SHORT, EncodingThread
from tests.serving.in_process import connected
from tests.serving.records import record_model

LONG, BRIEF = "te" * SHORT, "te"


@pytest.fixture
def encoded_in() -> Iterator[list[tuple[int, str]]]:
    """The length of each text that is encoded, and the name of the thread that does it."""
    seen: list[tuple[int, str]] = []
    encode = CharacterVocabulary.encode

    def watched(self: CharacterVocabulary, text: str, *, skip_unknown: bool = False) -> Tokens:
        seen.append((len(text), threading.current_thread().name))
        return encode(self, text, skip_unknown=skip_unknown)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CharacterVocabulary, "encode", watched)
        yield seen


def test_the_loop_runs_while_a_long_text_is_encoded() -> None:
    async def talk() -> None:
        released = threading.Event()
        encoding = EncodingThread()
        long = asyncio.ensure_future(encoding.run(SHORT + 1, lambda: released.wait(30)))
        waiting = asyncio.ensure_future(encoding.run(SHORT + 1, lambda: 1))
        assert await encoding.run(SHORT, lambda: 2) == 2
        given_up = asyncio.ensure_future(encoding.run(SHORT + 1, lambda: pytest.fail("nobody wants it")))
        await asyncio.sleep(0.01)
        assert not long.done()
        assert not waiting.done()  # one after the other
        given_up.cancel()
        released.set()
        assert await long
        assert await waiting == 1

    asyncio.run(talk())


def test_an_error_of_the_thread_reaches_the_call() -> None:
    def refuse() -> None:
        raise InvalidRequestError([Violation("prompt", "is refused")])

    with pytest.raises(InvalidRequestError, match="prompt is refused"):
        asyncio.run(EncodingThread().run(SHORT + 1, refuse))


def test_every_call_encodes_a_long_text_off_the_loop(encoded_in: list[tuple[int, str]]) -> None:
    model = record_model()

    async def talk() -> None:
        async with asyncio.timeout(120), connected(model, SchedulerConfig(max_streams=4)) as (stub, _):
            for text in (LONG, BRIEF):
                async for _ in stub.Generate(pb.GenerateRequest(prompt=text, max_tokens=1)):
                    pass
                async for _ in stub.Score(pb.ScoreRequest(texts=[text], prompt="t")):
                    pass
                async for _ in stub.Score(pb.ScoreRequest(texts=["t"], prompt=text)):
                    pass
                call = stub.Converse()
                commands = (
                    {"open": pb.Open()},
                    {"feed": pb.Feed(text=text)},
                    {"generate": pb.GenerateRequest(prompt=text, max_tokens=1)},
                )
                for command in commands:
                    await call.write(pb.ConverseRequest(**command))  # type: ignore[arg-type]
                await call.done_writing()
                async for event in call:
                    assert not event.HasField("failed"), event.failed

    asyncio.run(talk())
    long = [name for length, name in encoded_in if length == len(LONG)]
    brief = [name for length, name in encoded_in if length == len(BRIEF)]
    assert len(long) == len(brief) == 5
    assert all(name.startswith("encoding") for name in long)
    assert not any(name.startswith("encoding") for name in brief)

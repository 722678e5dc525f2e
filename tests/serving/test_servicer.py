"""Conversations as calls: how many there may be, and those that are silent on either side."""

import asyncio

import grpc
import grpc.aio
import pytest

import charloom.v1.charloom_pb2 as pb
from serving.engine.config import SchedulerConfig
from serving.model import Model
from serving.rpc.conversation import ConversationLimits
from serving.rpc.servicer import Servicer
from tests.serving.conftest import LoadOnce
from tests.serving.golden import FOLDER
from tests.serving.in_process import connected

LETTER = "a"
OPEN = pb.ConverseRequest(open=pb.Open())
ONE_SLOT = SchedulerConfig(max_streams=1)


@pytest.fixture(scope="module")
def model(load_once: LoadOnce) -> Model:
    return load_once(FOLDER / "lstm", "float32")


async def refusal(call: grpc.aio.StreamStreamCall[pb.ConverseRequest, pb.ConverseResponse]) -> str:
    """What a call is told that is no conversation."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return f"{caught.value.code().name}: {caught.value.details()}"


def test_who_opens_a_conversation_and_says_nothing_counts_until_they_go(model: Model) -> None:
    async def talk() -> None:
        async with (
            asyncio.timeout(60),
            connected(model, ONE_SLOT, ConversationLimits(max_conversations=1)) as (stub, servicer),
        ):
            silent = stub.Converse()
            while not servicer.opening:
                await asyncio.sleep(0.01)
            told = await refusal(stub.Converse(iter([OPEN])))
            assert told.startswith("RESOURCE_EXHAUSTED: all 1 places are taken")
            silent.cancel()
            while servicer.opening:
                await asyncio.sleep(0.01)
            event = await stub.Converse(iter([OPEN])).read()
            assert isinstance(event, pb.ConverseResponse)
            assert event.HasField("opened")

    asyncio.run(talk())


def test_who_opens_a_conversation_and_says_nothing_is_sent_away(model: Model) -> None:
    async def talk() -> None:
        async with (
            asyncio.timeout(60),
            connected(model, ONE_SLOT, ConversationLimits(opening_timeout=0.5)) as (stub, servicer),
        ):
            told = await refusal(stub.Converse())
            assert told == "DEADLINE_EXCEEDED: the conversation was not opened: no command came within 0.5 s"
            assert servicer.opening == 0

    asyncio.run(talk())


def test_a_generation_that_waits_for_a_slot_sends_heartbeats(model: Model) -> None:
    generate = pb.ConverseRequest(generate=pb.GenerateRequest(max_tokens=5, seed=1))
    feed = pb.ConverseRequest(feed=pb.Feed(text=LETTER))

    async def talk() -> None:
        async with asyncio.timeout(60), connected(model, ONE_SLOT, ConversationLimits()) as (stub, servicer):
            running = stub.Generate(pb.GenerateRequest(prompt=LETTER, max_tokens=1_000_000))
            while not (await running.read()).text:
                pass
            fed, events = stub.Converse(iter([OPEN, feed])), aiter(stub.Converse(iter([OPEN, generate])))
            heartbeats = asyncio.create_task(send_heartbeats(servicer))
            assert (await anext(events)).HasField("opened")
            assert (await anext(events)).generated.HasField("start")
            for _ in range(3):
                event = await anext(events)
                assert event.HasField("generated")
                assert event.generated == pb.GenerateResponse()
            running.cancel()
            assert [event.WhichOneof("event") async for event in fed] == ["opened", "fed"]
            said = [event.generated async for event in events]
            assert said[-1].finish.generated_tokens == 5
            assert len("".join(response.text for response in said)) == 5
            heartbeats.cancel()

    asyncio.run(talk())


async def send_heartbeats(servicer: Servicer) -> None:
    """Has calls send heartbeats all the time."""
    while True:
        servicer.heartbeat(0)
        await asyncio.sleep(0.01)

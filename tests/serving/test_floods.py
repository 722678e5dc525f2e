"""Floods: lists far longer than a request may have are refused at once, and not read first."""

import asyncio
import tracemalloc
from typing import Any

import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.options import MAX_STOPS, MAX_TEMPERATURES
from serving.engine.config import SchedulerConfig
from serving.metrics import Metrics
from serving.models import Models
from serving.rpc.conversation import ConversationLimits
from serving.rpc.convert import RequestLimits
from serving.rpc.security.sealing import Key, Sealer
from serving.rpc.servicer import Servicer
from serving.served_model import ServedModel
from tests.serving.conftest import LoadOnce
from tests.serving.golden import FOLDER

FLOOD = 300_000


class RefusedError(Exception):
    """A call was ended with a status."""


class Context:
    """The side of a call that a servicer sees."""

    def time_remaining(self) -> None:
        return None

    def trailing_metadata(self) -> tuple[()]:
        return ()

    async def abort(self, code: Any, details: str, trailing: Any) -> None:
        raise RefusedError(details)


@pytest.fixture(scope="module")
def servicer(load_once: LoadOnce) -> Servicer:
    model = load_once(FOLDER / "lstm", "float32")
    metrics = Metrics()
    served = ServedModel(model, SchedulerConfig(), metrics)
    sealer = Sealer([Key("a", bytes(32))], lifetime=0)
    return Servicer(Models([served]), RequestLimits(), metrics, sealer, ConversationLimits())


def refusal(servicer: Servicer, request: Any) -> str:
    """What is said to a request that is refused."""
    context: Any = Context()

    async def call() -> None:
        if isinstance(request, pb.EmbedRequest):
            await servicer.Embed(request, context)
            return
        answers = servicer.Score if isinstance(request, pb.ScoreRequest) else servicer.Generate
        async for _ in answers(request, context):
            pass

    with pytest.raises(RefusedError) as caught:
        asyncio.run(call())
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n: pb.EmbedRequest(texts=[""] * n), f"texts must be 1 to 128 here, not {FLOOD}"),
        (lambda n: pb.ScoreRequest(texts=[""] * n), f"texts must be 1 to 128 here, not {FLOOD}"),
        (lambda n: pb.GenerateRequest(stop=["a"] * n), f"stop must have 0 to {MAX_STOPS} values, not more"),
        (
            lambda n: pb.GenerateRequest(temperature=[1] * n),
            f"temperature must have 1 to {MAX_TEMPERATURES} values, not more",
        ),
        (
            lambda n: pb.GenerateRequest(replay=[1] * n, seed=1, max_tokens=9),
            f"replay and the state hold {FLOOD} tokens, more than max_tokens, 9",
        ),
    ],
    ids=["embed", "score", "stop", "temperature", "replay"],
)
def test_a_flood_is_not_read(servicer: Servicer, make: Any, said: str) -> None:
    refusal(servicer, make(1000))  # what the first call of a kind makes, it makes once
    flood = make(FLOOD)
    tracemalloc.start()
    try:
        assert refusal(servicer, flood).startswith(said)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < FLOOD, "that is a byte or more for each that is too many"

"""State tokens that were damaged on their way, and others that were sealed with anything in them."""

from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.client import Client
from serving.rpc.security.sealing import MAX_BYTES, MAX_PAYLOAD, Sealer
from tests.fuzz.conftest import Rounds, Target
from tests.fuzz.messages import WHOLE, messages

GENERATE = "/charloom.v1.CharloomService/Generate"
CONVERSE = "/charloom.v1.CharloomService/Converse"
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
FINE = {*REFUSED, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
"""Of what a server sealed: another server of these keys may serve a model that is none here."""
OPTIONS = pb.GenerateRequest.DESCRIPTOR


@pytest.fixture(scope="module")
def token(target: Target) -> bytes:
    """A state in the midst of a text, or at the end of one that came in one piece."""
    with Client(target.server.address) as client:
        generation = client.generate(
            "the ", max_tokens=300, seed=1, stop="🚀🚀🚀", state_interval=20, return_state=True
        )
        return next(piece.state for piece in generation.pieces() if piece.state)


@pytest.fixture(scope="module")
def saved(token: bytes, sealer: Sealer) -> dict[str, Any]:
    """What is in it."""
    found: dict[str, Any] = msgspec.msgpack.decode(sealer.open(token))
    return found


def send(target: Target, token: bytes, how: str) -> grpc.StatusCode:
    """The status of a call that goes on from a token in one of the ways there are."""
    match how:
        case "resume":
            request = pb.GenerateRequest(state=token, resume=True)
        case "begin":
            request = pb.GenerateRequest(state=token, prompt="the", max_tokens=5, return_state=True)
        case "penalise":
            request = pb.GenerateRequest(
                state=token,
                max_tokens=9,
                repetition_penalty=1.5,
                penalty_window=1024,
                logprobs=3,
                state_interval=2,
            )
        case _:
            commands = (
                pb.ConverseRequest(open=pb.Open(state=token)),
                pb.ConverseRequest(feed=pb.Feed(text="the")),
                pb.ConverseRequest(suggest=pb.Suggest(count=3)),
                pb.ConverseRequest(save=pb.Save()),
            )
            return target.status(CONVERSE, *(command.SerializeToString() for command in commands))
    return target.status(GENERATE, request.SerializeToString())


WAYS = st.sampled_from(["resume", "begin", "penalise", "converse"])


@st.composite
def damaged(draw: Any, token: bytes) -> bytes:
    """A token that is not as it was given."""
    place = draw(st.integers(0, len(token) - 1))
    other = draw(st.integers(0, len(token)))
    flipped = bytearray(token)
    flipped[place] ^= 1 << draw(st.integers(0, 7))
    return draw(
        st.sampled_from(
            [
                bytes(flipped),
                token[:place],
                token[:place] + token[other:],
                token[place:],
                token + token[:place],
            ]
        )
        | st.binary(min_size=1, max_size=300)
        | st.just(bytes(MAX_BYTES + 1))
    )


def test_damaged_tokens(target: Target, token: bytes, rounds: Rounds) -> None:
    def check(case: tuple[bytes, str]) -> None:
        if case[0] not in (b"", token):
            assert send(target, *case) in REFUSED

    rounds.run(st.tuples(damaged(token), WAYS), check)
    target.check()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1) | WHOLE | st.sampled_from([25, 24, 2**62 - 1, 2**62 - 60, 2**31, 2**53])
)
ARRAYS = (
    st.binary(max_size=64)
    | st.builds(lambda value, n: np.full(n, value, "<f4").tobytes(), st.floats(width=32), st.integers(0, 40))
    | st.builds(
        lambda value, n: np.full(n, value, "<u4").tobytes(), WHOLE, st.sampled_from([1, 1024, 1025, 2**17])
    )
)


@st.composite
def payloads(draw: Any, saved: dict[str, Any]) -> bytes:
    """What no server seals: a state of which some fields are anything, or anything at all."""
    changed = dict(saved)
    tensors = {name: draw(tensor(data)) for name, data in saved["state"].items()}
    likely = {
        "model": st.text(max_size=70) | st.just("☃" * 100_000),
        "digest": st.text(max_size=70) | st.just("d" * 500_000),
        "execution_class": st.text(max_size=70) | st.just("e" * 500_000),
        "exact": st.booleans(),
        "request": st.binary(max_size=50) | messages(OPTIONS).map(serialized),
        "generated": NUMBERS,
        "last": NUMBERS,
        "position": NUMBERS,
        "recent": ARRAYS,
        "state": st.just(tensors) | st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3),
        "precision": st.sampled_from(["float32", "int8", "int4", "", "object"]),
    }
    for name in draw(st.lists(st.sampled_from(sorted(likely)), unique=True, max_size=4)):
        changed[name] = draw(likely[name] if draw(st.integers(0, 4)) else ANYTHING)
    for name in (
        draw(st.lists(st.sampled_from(sorted(likely)), max_size=1)) if draw(st.integers(0, 9)) == 0 else []
    ):
        del changed[name]
    whole = st.just(msgspec.msgpack.encode(changed))
    nested = st.integers(1, 100_000).map(lambda depth: b"\x91" * depth)
    odd = st.binary(max_size=100) | ANYTHING.map(msgspec.msgpack.encode) | nested
    return draw(whole if draw(st.integers(0, 9)) else odd)[:MAX_PAYLOAD]


def tensor(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes of a tensor, or others of its size."""
    values = st.sampled_from([0.0, -0.0, 1.0, 1e38, -3.4e38, 1e-45, np.nan, np.inf, 7.0])
    filled = values.map(lambda value: np.full(len(data) // 4, value, "<f4").tobytes())
    return st.just(data) | filled | st.binary(min_size=len(data), max_size=len(data)) | ARRAYS


def serialized(message: pb.GenerateRequest) -> bytes:
    return message.SerializeToString()[: 2**18]


def test_sealed_tokens_with_anything_in_them(
    target: Target, saved: dict[str, Any], sealer: Sealer, rounds: Rounds
) -> None:
    def check(case: tuple[bytes, str]) -> None:
        payload, how = case
        assert (code := send(target, sealer.seal(payload), how)) in FINE, code

    rounds.run(st.tuples(payloads(saved), WAYS), check)
    target.check()

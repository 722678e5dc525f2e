"""What a state holds; and states that were sealed and that no server of this version saves: all refused."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.burst import StateSpec
from charloom.options import MAX_WINDOW, InvalidRequestError
from serving.engine.config import SchedulerConfig
from serving.engine.request import Request
from serving.errors import OtherBundleError
from serving.metrics import Metrics
from serving.model import Model
from serving.models import Models
from serving.rpc import state_token
from serving.rpc.convert import RequestLimits, Text
from serving.rpc.resolver import MAX_NAME, Resolver, fresh, resumed
from serving.rpc.security.sealing import Key, Sealer
from serving.served_model import ServedModel
from tests.serving.conftest import LoadOnce
from tests.serving.golden import FOLDER
from tests.serving.test_snapshot import chosen, run

OPTIONS: dict[str, Any] = {"seed": 3, "max_tokens": 9, "top_k": 4, "stop": ["x"], "logprobs": 2}


@pytest.fixture(scope="module")
def model(load_once: LoadOnce) -> ServedModel:
    return ServedModel(load_once(FOLDER / "lstm", "float32"), SchedulerConfig(max_streams=4), Metrics())


@pytest.fixture
def resolver(model: ServedModel) -> Resolver:
    return Resolver(Models([model]), RequestLimits(), Sealer([Key("a", bytes(32))], lifetime=0))


def saved(model: ServedModel, asked: pb.GenerateRequest) -> bytes:
    """What is saved where a text begins."""
    request = Request(np.empty(0, np.int64), 9, asked.seed)
    return state_token.save(Text(model, asked, exact=True), request, fresh(model))


def restored(model: ServedModel, **changes: Any) -> Any:
    """What becomes of a state of which some fields are others."""
    payload = saved(model, pb.GenerateRequest())
    changed = msgspec.msgpack.encode(msgspec.msgpack.decode(payload) | changes)
    return state_token.restore(state_token.load(changed), model.model)


def test_the_state_itself_is_restored(model: ServedModel) -> None:
    assert restored(model).position == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"position": -1, "generated": -1},
        {"position": 2**62},
        {"position": 5, "generated": 6},
        {"position": 5, "generated": -1},
        {"recent": b"abc"},
        {"recent": np.array([25], "<u4").tobytes()},
        {"last": 26},
        {"last": -1},
        {"state": {}},
        {"position": "5"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_state_that_no_stream_can_have_is_refused(model: ServedModel, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="state"):
        restored(model, **changes)


def test_no_more_tokens_are_recent_than_penalties_look_at(model: ServedModel) -> None:
    tokens = np.arange(5000) % 25
    recent = restored(model, position=5000, recent=tokens.astype("<u4").tobytes()).recent
    assert recent.tolist() == tokens[-MAX_WINDOW:].tolist()


def test_a_state_holds_the_options_of_its_text_and_nothing_else_that_was_sent(model: ServedModel) -> None:
    long = "x" * 2**20
    sent = pb.GenerateRequest(
        model=long,
        prompt=long,
        state=long.encode(),
        replay=range(1000),
        bundle_digest=long,
        execution_class=long,
        n=2,
        skip_unknown=True,
        resume=True,
        token_ids=True,
        return_state=True,
        state_interval=2**31,
        require_exact=True,
        stop_tokens=[pb.Token(text="a")],
        **OPTIONS,
    )
    # Fields of a later version, in it and in a token of it.
    sent.MergeFromString(b"\xfa\x3f\x05later\x4a\x0a\x12\x01b\xfa\x3f\x04more")
    assert b"later" in sent.SerializeToString()
    named = [pb.Token(text="a"), pb.Token(text="b")]
    bare = pb.GenerateRequest(stop_tokens=named, **OPTIONS)
    payload = saved(model, sent)
    assert payload == saved(model, bare)
    assert resumed(pb.GenerateRequest(resume=True), state_token.load(payload)) == pb.GenerateRequest(
        resume=True, stop_tokens=named, **OPTIONS
    )


@pytest.mark.parametrize("field", ["bundle_digest", "execution_class"])
def test_what_a_request_names_is_bounded(resolver: Resolver, field: str) -> None:
    fits, too_long = ({field: "x" * length} for length in (MAX_NAME, MAX_NAME + 1))
    with pytest.raises(InvalidRequestError) as caught:
        resolver.resolve(pb.GenerateRequest(**too_long))
    assert [violation.field for violation in caught.value.violations] == [field]
    if field == "bundle_digest":
        with pytest.raises(InvalidRequestError, match=field):
            resolver.resolve_conversation(pb.Open(**too_long))
        with pytest.raises(OtherBundleError):
            resolver.resolve(pb.GenerateRequest(**fits))
    else:
        text, _ = resolver.resolve(pb.GenerateRequest(**fits))
        assert not text.exact


IDS = StateSpec("window", "int64", (2, 3), initial=4, limit=9)
HALF = StateSpec("half", "float16", (2,))
FLAG = StateSpec("flag", "bool", (1,))


def test_tensors_of_any_type_come_back() -> None:
    specs = [IDS, HALF, FLAG]
    state = {
        "window": np.arange(6, dtype=np.int64).reshape(1, 2, 3),
        "half": np.array([[0.5, -2]], np.float16),
        "flag": np.array([[True]]),
    }
    saved = {name: state_token.to_bytes(tensor) for name, tensor in state.items()}
    restored = state_token.restore_state(saved, specs, specs)
    for name, tensor in state.items():
        assert restored[name].dtype == tensor.dtype
        assert restored[name].tolist() == tensor.tolist()
        restored[name][:] = 0  # it is a copy, and writable


def test_bytes_are_the_same_on_every_machine() -> None:
    here = np.array([[1, 258]], "<i8")
    assert state_token.to_bytes(here) == state_token.to_bytes(here.astype(">i8")) == here.tobytes()


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 9], [0, 1, 2, 3, 4, -1], [2**62] * 6])
def test_ids_that_the_model_has_not_are_refused(ids: list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="window of numbers that no stream has"):
        state_token.from_bytes(np.array(ids).tobytes(), IDS)


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_tensor_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidRequestError, match="window of another size"):
        state_token.from_bytes(bytes(size), IDS)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError, match="half that is not finite"):
        state_token.from_bytes(np.array([0, value], np.float16).tobytes(), HALF)


@pytest.mark.parametrize("precision", ["float16", "int8 ", ""])
def test_a_precision_that_no_bundle_has_is_refused(model: Model, precision: str) -> None:
    with pytest.raises(InvalidRequestError, match="another version of Charloom"):
        restored(model, precision=precision)


def test_a_state_of_another_precision_is_converted(model: Model) -> None:
    float32, int8 = (model.bundle.manifest.precisions[p].state for p in ("float32", "int8"))
    random = np.random.default_rng(0)
    state = {spec.name: random.uniform(-1, 1, (1, *spec.shape)).astype(np.float32) for spec in float32}
    saved = {name: tensor.tobytes() for name, tensor in state.items()}
    encoded = state_token.restore_state(saved, float32, int8)
    assert {name: tensor.dtype.name for name, tensor in encoded.items()} == {
        "h_0": "uint8",
        "c_0": "float32",
        "h_1": "uint8",
        "c_1": "float32",
    }
    again = {name: state_token.to_bytes(tensor) for name, tensor in encoded.items()}
    back = state_token.restore_state(again, int8, float32)
    for name, tensor in state.items():
        assert np.abs(back[name] - tensor).max() <= (0.5 / 127 + 1e-6 if name[0] == "h" else 0)
    assert restored(model, precision="int8", state=again).state["h_0"].dtype == np.float32
    with pytest.raises(InvalidRequestError, match="h_0 of another size"):
        restored(model, precision="int8")


def test_a_resumed_text_has_the_seed_and_the_length_that_its_server_chose(
    model: ServedModel, resolver: Resolver
) -> None:
    """It asked for neither, and the server that resumes it would draw and choose others."""
    text, request = resolver.resolve(pb.GenerateRequest())
    assert not text.message.HasField("seed")
    token = resolver.sealer.seal(state_token.save(text, request, fresh(model)), None)
    another = replace(resolver, limits=RequestLimits(default_tokens=7))
    for server in (resolver, another):
        _, resumed = server.resolve(pb.GenerateRequest(resume=True, state=token))
        assert (resumed.seed, resumed.max_tokens) == (request.seed, request.max_tokens)


def test_a_text_without_a_seed_goes_on_as_it_would_have(model: ServedModel, resolver: Resolver) -> None:
    message = pb.GenerateRequest(prompt="a ship", max_tokens=60, state_interval=10)
    text, request = resolver.resolve(message)
    whole = run(model.model, request, burst=7)
    states = [update.snapshot for update in whole if update.snapshot is not None]
    assert len(states) > 2
    for snapshot in states:
        token = resolver.sealer.seal(state_token.save(text, request, snapshot), None)
        _, resumed = resolver.resolve(pb.GenerateRequest(resume=True, state=token))
        sent = snapshot.position - request.start
        assert chosen(run(model.model, resumed)).tokens.tolist() == chosen(whole).tokens[sent:].tolist()

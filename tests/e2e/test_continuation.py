"""Texts that go on: after their server died, on another one, from a state, and from what is known of them."""

import asyncio
import base64
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import grpc
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, Generation, RequestError
from charloom.client.retries import RetryConfig
from charloom.v1.charloom_pb2_grpc import (
    CharloomServiceServicer,
    CharloomServiceStub,
    add_CharloomServiceServicer_to_server,
)
from tests.conftest import needs_int8
from tests.e2e.conftest import ServerProcess

Serve = Callable[..., ServerProcess]
LONG: dict[str, Any] = {"max_tokens": 10_000, "seed": 5}
FILTERED: dict[str, Any] = {
    "max_tokens": 3_000,
    "seed": 2**64 - 1,
    "temperature": [0.5, 1.1],
    "top_k": 20,
    "repetition_penalty": 1.2,
    "penalty_window": 300,
    "logit_bias": {"e": 0.5},
    "min_tokens": 50,
    "stop": "zzqzz",
    "n": 3,
}
QUICK = RetryConfig(idle_timeout=3)


@pytest.fixture(scope="module")
def replica_options(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of servers that share the keys of their state tokens."""
    keys = tmp_path_factory.mktemp("replicas") / "keys"
    keys.write_text(f"a:{base64.b64encode(bytes(range(32))).decode()}\n")
    return ("--state-keys", str(keys), "--grace", "0.2", "--heartbeat", "1")


@pytest.fixture
def replica(serve: Serve, replica_options: tuple[str, ...]) -> Serve:
    """Starts replicas of a test's own."""
    return partial(serve, *replica_options)


@pytest.fixture(scope="module")
def replica_all(serve_all: Serve, replica_options: tuple[str, ...]) -> Serve:
    """Gives replicas that all tests share, and none may end."""
    return partial(serve_all, *replica_options)


def undisturbed(server: ServerProcess, **options: Any) -> list[str]:
    with Client(server.address) as client:
        return client.generate("The ", **options).texts()


def after_some_text(generation: Generation, do: Callable[[], None], pieces: int = 3) -> list[str]:
    """The texts of a generation, in the midst of which something is done."""
    texts = [""] * generation.n
    for count, piece in enumerate(generation.pieces()):
        texts[piece.index] += piece.text
        if count == pieces:
            do()
    return texts


def test_a_text_survives_its_server(replica: Serve, replica_all: Serve) -> None:
    survive(replica(), replica_all(), signal.SIGKILL, 500, FILTERED)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("interval", [0, 500])
@pytest.mark.parametrize("options", [LONG, FILTERED], ids=["plain", "filtered"])
def test_a_text_survives_whatever_happens_to_its_server(
    replica: Serve, replica_all: Serve, how: signal.Signals, interval: int, options: dict[str, Any]
) -> None:
    survive(replica(), replica_all(), how, interval, options)


def survive(
    first: ServerProcess, second: ServerProcess, how: signal.Signals, interval: int, options: dict[str, Any]
) -> None:
    """Does something to a server in the midst of a text, which goes on on another one."""
    whole = undisturbed(second, **options)
    with Client([first.address, second.address], QUICK) as client:
        generation = client.generate("The ", **options, state_interval=interval)
        found = after_some_text(generation, lambda: os.kill(first.process.pid, how))
    if how == signal.SIGTERM:
        assert first.process.wait(20) == 0
    else:
        first.kill()
    assert generation.resumed >= 1
    assert generation.resumed_by_state + generation.resumed_by_replay >= 1
    assert interval or not generation.resumed_by_state
    assert generation.exact
    assert found == whole


@pytest.mark.slow  # as the one above does, with the other client
def test_an_asyncio_text_survives_its_server(replica: Serve, replica_all: Serve) -> None:
    first, second = replica(), replica_all()
    (whole,) = undisturbed(second, **LONG)

    async def read() -> tuple[str, int]:
        async with AsyncClient([first.address, second.address], QUICK) as client:
            generation = client.generate("The ", **LONG)
            text = ""
            async for piece in generation:
                text += piece
                if len(text) > 1000 and first.process.returncode is None:
                    first.kill()
            return text, generation.resumed

    text, resumed = asyncio.run(read())
    assert (text, resumed) == (whole, 1)


def test_a_server_that_cancels_a_call_before_it_began_is_passed_over(replica_all: Serve) -> None:
    class Ending(CharloomServiceServicer):
        def Generate(self, request: pb.GenerateRequest, context: Any) -> None:  # noqa: N802
            context.abort(grpc.StatusCode.CANCELLED, "the server ends")

    server, ending = replica_all(), grpc.server(ThreadPoolExecutor(1))
    add_CharloomServiceServicer_to_server(Ending(), ending)
    port = ending.add_insecure_port("127.0.0.1:0")
    ending.start()
    with Client([f"127.0.0.1:{port}", server.address]) as client:
        assert client.generate("The ", max_tokens=9).text()
    ending.stop(0)


def test_each_of_many_texts_tries_every_address(replica_all: Serve) -> None:
    server = replica_all()

    async def read() -> list[str]:
        async with AsyncClient(["127.0.0.1:1", server.address]) as client:
            return await asyncio.gather(
                *(client.generate("The ", max_tokens=9, seed=1).text() for _ in range(20))
            )

    assert len(set(asyncio.run(read()))) == 1


def test_a_text_whose_state_does_not_open_elsewhere_goes_on_from_its_tokens(
    serve: Serve, serve_all: Serve
) -> None:
    first, second = serve(), serve_all()  # each has a key of its own
    assert "will not outlive this server" in first.stderr
    (whole,) = undisturbed(second, **LONG)
    with Client([first.address, second.address], QUICK) as client:
        generation = client.generate("The ", **LONG, state_interval=500)
        (found,) = after_some_text(generation, first.kill)
    assert found == whole


def test_a_text_goes_on_from_any_state_of_it_on_another_server(replica_all: Serve) -> None:
    first, second = replica_all("--threads", "2"), replica_all("--max-batch", "2")
    options = FILTERED | {"max_tokens": 600, "n": 1}
    with Client(first.address) as one, Client(second.address) as other:
        pieces = list(one.generate("The ", **options, state_interval=40, return_state=True).pieces())
        whole = "".join(piece.text for piece in pieces)
        states = [piece for piece in pieces if piece.state]
        assert len(states) > 3
        assert pieces[-1] is states[-1]
        for piece in states:
            before = piece.state_position - len("The ")
            generation = other.resume(piece.state)
            assert whole[:before] + generation.text() == whole
            assert generation.exact
            assert generation.endings[0].generated_tokens == len(whole)
            assert generation.endings[0].prompt_tokens == len("The ")


def test_a_prompt_is_read_once_and_gone_on_from_in_many_ways(replica_all: Serve) -> None:
    server = replica_all()
    with Client(server.address) as client:
        read = client.generate("The statement ", max_tokens=0, return_state=True)
        assert read.text() == ""
        state = read.states[0]
        for seed in range(3):
            whole = client.generate("The statement is ", max_tokens=50, seed=seed, n=2).texts()
            assert client.generate("is ", max_tokens=50, seed=seed, n=2, state=state).texts() == whole


def test_what_cannot_go_on_is_refused_with_words(replica_all: Serve, serve_all: Serve) -> None:
    server, stranger = replica_all(), serve_all()
    with Client(server.address) as client, Client(stranger.address) as other:
        generation = client.generate("The ", max_tokens=20, return_state=True)
        generation.text()
        state = generation.states[0]
        with pytest.raises(RequestError, match=r"FAILED_PRECONDITION.*key that this server does not have"):
            other.resume(state).text()
        flipped = bytearray(state)
        flipped[-1] ^= 1
        with pytest.raises(RequestError, match=r"INVALID_ARGUMENT.*altered"):
            client.resume(bytes(flipped)).text()
    with grpc.insecure_channel(server.address) as channel:
        stub = CharloomServiceStub(channel)

        def refusal(**fields: Any) -> str:
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Generate(pb.GenerateRequest(**fields)))
            return str(RequestError.of(caught.value))

        assert "INVALID_ARGUMENT: resume needs the state" in refusal(resume=True)
        said = refusal(state=state, resume=True, prompt="x", top_k=3)
        assert "prompt must be absent" in said
        assert "top_k must be absent" in said
        assert "seed must be given" in refusal(replay=[1, 2])
        assert "n must be 1" in refusal(replay=[1, 2], seed=1, n=2)
        assert "none of the model's" in refusal(replay=[10_000], seed=1)
        assert "more than max_tokens" in refusal(replay=[1, 2, 3], seed=1, max_tokens=2)
        assert "FAILED_PRECONDITION" in refusal(bundle_digest="sha256:0")
        inexact = refusal(replay=[1], seed=1, execution_class="float64/abacus", require_exact=True)
        assert "FAILED_PRECONDITION: the text was begun on float64/abacus" in inexact
        (start, *_) = stub.Generate(
            pb.GenerateRequest(replay=[1], seed=1, execution_class="float64/abacus", max_tokens=5)
        )
        assert not start.start.exact


@needs_int8
def test_a_text_goes_on_in_another_precision_and_says_that_it_is_not_exact(replica_all: Serve) -> None:
    exact, fast = replica_all("--precision", "float32"), replica_all("--precision", "int8")
    with Client(exact.address) as one, Client(fast.address) as other:
        for first, second in ((one, other), (other, one)):
            begun = first.generate("The ", max_tokens=300, seed=1, temperature=0.2, state_interval=50)
            states = [piece.state for piece in begun.pieces() if piece.state]
            generation = second.resume(states[0])
            assert generation.text()
            assert not generation.exact
            with pytest.raises(RequestError, match="FAILED_PRECONDITION"):
                second.generate("x", state=states[0], require_exact=True).text()


def test_a_server_that_waits_says_that_it_is_alive(replica: Serve) -> None:
    server = replica("--max-streams", "1")
    with Client(server.address) as client, grpc.insecure_channel(server.address) as channel:
        running = client.generate("a", max_tokens=1_000_000)
        pieces = running.pieces()  # kept: who drops them gives the place up
        next(pieces)
        waiting = CharloomServiceStub(channel).Generate(pb.GenerateRequest(prompt="b", seed=1))
        times = [time.monotonic()]
        for response in waiting:
            times.append(time.monotonic())
            if len(times) > 4:
                break
            assert response.HasField("start") or not response.ByteSize()
        waiting.cancel()
        running.cancel()
    assert max(later - sooner for sooner, later in pairwise(times)) < 10


def test_a_client_gives_up_in_the_end_and_at_once_where_nothing_was_begun(replica: Serve) -> None:
    server = replica()
    with Client("127.0.0.1:1") as nobody, pytest.raises(RequestError, match="UNAVAILABLE"):
        nobody.generate("a").text()
    few = RetryConfig(max_attempts=3, initial_backoff=0.01, max_backoff=0.05)
    with Client(server.address, few) as client, pytest.raises(RequestError, match="UNAVAILABLE"):
        after_some_text(client.generate("The ", **LONG), server.kill)


def test_who_cancels_is_not_helped_to_go_on(replica_all: Serve) -> None:
    server = replica_all()
    with Client(server.address) as client:
        generation = client.generate("The ", **LONG)
        with pytest.raises(RequestError, match="CANCELLED"):
            after_some_text(generation, generation.cancel)
        assert generation.resumed == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_given_texts_are_scored_and_embedded(replica_all: Serve) -> None:
    server = replica_all()
    with Client(server.address) as client:
        options: dict[str, Any] = {"max_tokens": 80, "seed": 3, "temperature": 0.5}
        pieces = list(client.generate("The ", **options, logprobs=0, token_ids=True).pieces())
        text = "".join(piece.text for piece in pieces)
        noise = "qzxj" * (len(text) // 4)
        scored, other, nothing = client.score([text, noise, ""], prompt="The ")
        assert scored.token_ids == [token for piece in pieces for token in piece.token_ids]
        assert scored.logprobs == [value for piece in pieces for value in piece.logprobs]
        assert scored.logprob > other.logprob
        assert nothing.logprobs == []
        near, nearer, far = client.embed(["the statement", "the statement", "0 % 1 ! 3"])
        assert near == nearer
        assert sum(a * b for a, b in zip(near, near, strict=True)) == pytest.approx(1)
        assert sum(a * b for a, b in zip(near, far, strict=True)) < 0.999
        with pytest.raises(RequestError, match=r"INVALID_ARGUMENT: texts\[1\] is empty"):
            client.embed(["a", ""])
        with pytest.raises(RequestError, match=r"texts\[0\] has characters outside"):
            client.embed(["☃"])
        [unknown] = client.score(["☃"])
        assert (unknown.text, unknown.unknown) == ("☃", 1)
        with pytest.raises(RequestError, match="texts must be 1 to 128"):
            client.score([])

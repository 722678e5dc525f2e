"""A real server process over a real bundle, and real clients."""

import asyncio
import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, RequestError
from charloom.client.retries import RetryConfig
from charloom.manifest import MANIFEST
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from serving.local import LocalModel
from tests.e2e.conftest import metric, wait_until

Serve = Callable[..., Any]
Refusal = Callable[..., tuple[int, str]]
ENDLESS = 900_000
"""Tokens that no test waits for."""


def test_200_streams_get_the_texts_of_their_seeds(serve: Serve, local: LocalModel) -> None:
    server = serve("--max-streams", "64", "--threads", "2")
    groups = [(0.0, 40), (0.5, 5), (0.8, 200), (1.0, 60), (1.0, 150), (1.2, 90), (1.5, 20), (0.7, 120)]

    async def run() -> list[list[str]]:
        async with AsyncClient(server.address) as client:

            async def one(group: int, index: int) -> str:
                await asyncio.sleep(((group * 25 + index) * 37 % 200) / 50)  # over four seconds
                temperature, length = groups[group]
                options = {"temperature": temperature, "max_tokens": length, "seed": 100 * group + index}
                return await client.generate("The ", **options).text()

            return await asyncio.gather(
                *(asyncio.gather(*(one(g, i) for i in range(25))) for g in range(len(groups)))
            )

    texts = asyncio.run(run())
    for group, (temperature, length) in enumerate(groups):
        options = {"temperature": temperature, "max_tokens": length, "seed": 100 * group}
        assert texts[group] == local.generate("The ", n=25, **options)
    wait_until(lambda: metric(server, "charloom_active_streams") == 0)
    assert metric(server, "charloom_waiting_streams") == 0
    assert metric(server, "charloom_requests_total", outcome="ok") == 200
    assert metric(server, "charloom_generated_tokens_total") == 25 * sum(length for _, length in groups)
    assert metric(server, "charloom_prompt_tokens_total") == 200 * 4
    assert metric(server, "charloom_time_to_first_token_seconds_count") == 200


def test_the_text_survives_restarts_and_thread_counts(serve: Serve) -> None:
    texts = []
    for threads in ("1", "2"):
        server = serve("--threads", threads)
        with Client(server.address) as client:
            generation = client.generate("for ", max_tokens=300, seed=7)
            texts.append((generation.text(), generation.bundle_digest, generation.execution_class))
    assert texts[0] == texts[1]


def test_the_first_response_says_what_the_text_depends_on(serve_all: Serve) -> None:
    server = serve_all("--precision", "float32")
    with Client(server.address) as client:
        generation = client.generate("The ", max_tokens=50, logprobs=0, token_ids=True)
        first, *others = generation.pieces()
        assert first.text == ""
        assert generation.seed is not None
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", generation.bundle_digest)
        assert generation.execution_class.startswith("float32/cpu/onnxruntime-")
        ids = [token for piece in others for token in piece.token_ids]
        logprobs = [value for piece in others for value in piece.logprobs]
        assert len(ids) == len(logprobs) == len("".join(piece.text for piece in others)) == 50
        assert all(value <= 0 for value in logprobs)
        assert [p.position for p in others] == sorted(p.position for p in others)
        assert others[-1].position == 54
        assert (generation.finish, generation.prompt_tokens, generation.generated_tokens) == ("length", 4, 50)
        again = client.generate("The ", max_tokens=50, seed=generation.seed)
        assert again.text() == "".join(piece.text for piece in others)


def test_stop_strings_end_a_text(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client:
        whole = client.generate("The ", max_tokens=400, seed=3).text()
        stop = whole[200:204]
        generation = client.generate("The ", max_tokens=400, seed=3, stop=(stop,))
        assert generation.text() == whole[: whole.index(stop)]
        assert generation.finish == "stop"


def test_describes_its_model(serve_all: Serve) -> None:
    server = serve_all("--precision", "float32")
    with Client(server.address) as client:
        model = client.model()
        assert client.models() == [model]
        assert client.model(model.name) == model
        network = model.network
        assert (network.kind, network.version, network.description) == (
            "recurrent",
            1,
            "LSTM, 2 x 48 cells, embedding 16",
        )
        assert network.config == {"cell": "lstm", "layers": 2, "cells": 48, "embedding": 16}
        assert all(type(network.config[name]) is int for name in ("layers", "cells", "embedding"))
        assert network.parameters > 10_000
        assert model.precision == "float32"
        assert model.state_bytes == 2 * 2 * 48 * 4
        assert 0 < model.validation_loss < 5
        with pytest.raises(RequestError, match=r"NOT_FOUND.*no model 'other'"):
            client.model("other")
        with pytest.raises(RequestError, match="NOT_FOUND"):
            client.generate("a", model="other").text()


def test_names_every_invalid_field(serve_all: Serve) -> None:
    server = serve_all()
    before = metric(server, "charloom_rejections_total", reason="invalid_argument")
    message = pb.GenerateRequest(
        prompt="a%?☃b☃", temperature=[-1], top_p=0, min_p=2, max_tokens=2**31, stop=["", "x"]
    )
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(CharloomServiceStub(channel).Generate(message))
    error = RequestError.of(caught.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    fields = {violation.field for violation in error.violations}
    assert fields == {"prompt", "temperature", "top_p", "min_p", "max_tokens", "stop"}
    assert "'☃' (U+2603) at 3" in str(error)
    assert metric(server, "charloom_rejections_total", reason="invalid_argument") == before + 1


def test_unknown_characters_are_skipped_where_that_is_asked_for(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client:
        plain = client.generate("The ", seed=1, max_tokens=30).text()
        assert client.generate("T☃he ☃", seed=1, max_tokens=30, skip_unknown=True).text() == plain


def test_refuses_at_once_what_it_has_no_room_for(serve: Serve) -> None:
    server = serve("--max-streams", "1", "--max-waiting", "1")
    with Client(server.address) as client:
        running, waiting = (client.generate("a", max_tokens=ENDLESS) for _ in range(2))
        wait_until(lambda: metric(server, "charloom_active_streams") == 1)
        wait_until(lambda: metric(server, "charloom_waiting_streams") == 1)
        with pytest.raises(RequestError, match="RESOURCE_EXHAUSTED") as refused:
            client.generate("a").text()
        assert refused.value.retry_after is not None
        assert refused.value.retry_after > 0
        assert metric(server, "charloom_rejections_total", reason="resource_exhausted") == 1
        running.cancel()
        waiting.cancel()
        wait_until(lambda: metric(server, "charloom_active_streams") == 0)
        assert client.generate("a", max_tokens=5).text() != ""


def test_who_stops_reading_gives_the_place_up(serve: Serve) -> None:
    server = serve("--max-streams", "1", "--max-waiting", "0")
    with Client(server.address) as client:
        left = client.generate("a", max_tokens=ENDLESS)
        for _ in left:
            break
        wait_until(lambda: metric(server, "charloom_active_streams") == 0)
        left.cancel()
        with pytest.raises(RequestError, match="CANCELLED"):
            left.text()  # and does not ask for it again
        assert metric(server, "charloom_active_streams") == 0


def test_a_text_that_is_given_up_ends_for_its_reader_and_not_its_task(serve_all: Serve) -> None:
    server = serve_all()

    async def run() -> None:
        async with AsyncClient(server.address) as client:
            given_up = client.generate("a", max_tokens=ENDLESS)
            reader = asyncio.create_task(given_up.text())
            await asyncio.sleep(0.3)
            given_up.cancel()
            with pytest.raises(RequestError, match="CANCELLED"):
                await reader

    asyncio.run(run())


def test_a_deadline_ends_a_text_and_frees_its_slot(serve: Serve) -> None:
    server = serve()
    with Client(server.address) as client:
        with pytest.raises(RequestError, match="DEADLINE_EXCEEDED"):
            client.generate("a", max_tokens=ENDLESS, timeout=0.5).text()
        wait_until(lambda: metric(server, "charloom_active_streams") == 0)
        # A client gives up at its deadline too, and whichever is first decides the outcome's name.
        wait_until(
            lambda: (
                metric(server, "charloom_requests_total", outcome="deadline_exceeded")
                + metric(server, "charloom_requests_total", outcome="cancelled")
                == 1
            )
        )


def test_a_client_that_goes_away_leaves_no_slot_in_use(serve: Serve) -> None:
    server = serve()
    for _ in range(3):
        with Client(server.address) as client:
            begun = [iter(client.generate("a", max_tokens=ENDLESS)) for _ in range(5)]
            for texts in begun:
                next(texts)
    wait_until(lambda: metric(server, "charloom_active_streams") == 0)
    assert metric(server, "charloom_requests_total", outcome="cancelled") == 15


def test_a_slow_reader_delays_nobody_and_loses_nothing(serve: Serve, local: LocalModel) -> None:
    server = serve("--buffer-tokens", "64")
    length = 12_000  # the server pauses after some 4,000
    # Without these the connection itself would buffer megabytes on its way.
    narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
    message = pb.GenerateRequest(prompt="a", max_tokens=length, seed=5)
    with grpc.insecure_channel(server.address, options=narrow) as slow, Client(server.address) as quick:
        responses = CharloomServiceStub(slow).Generate(message)
        text = next(responses).text
        produced = -1.0
        while produced != (produced := metric(server, "charloom_generated_tokens_total")):
            time.sleep(1)  # until it pauses
        assert produced < length
        assert len(quick.generate("a", max_tokens=500).text()) == 500
        text += "".join(response.text for response in responses)
    assert [text] == local.generate("a", max_tokens=length, seed=5)


def test_sigterm_lets_running_texts_finish_and_takes_no_others(serve: Serve) -> None:
    server = serve()
    with Client(server.address) as client:
        generation = client.generate("a", max_tokens=15_000, seed=1)
        pieces = iter(generation)
        text = next(pieces)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "shutting down" in server.stderr)
        with pytest.raises(RequestError, match="UNAVAILABLE"):
            client.generate("a").text()
        text += "".join(pieces)
    assert len(text) == 15_000
    assert generation.finish == "length"
    assert server.process.wait(timeout=30) == 0


def test_the_grace_period_ends(serve: Serve) -> None:
    server = serve("--grace", "0.5")
    with Client(server.address, RetryConfig(max_attempts=1)) as client:
        pieces = iter(client.generate("a", max_tokens=ENDLESS))
        next(pieces)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(RequestError, match="UNAVAILABLE"):
            list(pieces)
    assert server.process.wait(timeout=30) == 0


def test_every_text_gets_its_state_as_the_grace_period_ends(serve: Serve) -> None:
    server = serve("--grace", "0.5")
    message = pb.GenerateRequest(prompt="a", max_tokens=ENDLESS, n=3, return_state=True)
    reached: dict[int, int] = {}
    saved: dict[int, int] = {}
    with grpc.insecure_channel(server.address) as channel:
        responses = CharloomServiceStub(channel).Generate(message)
        while len(reached) < 3:
            if (response := next(responses)).text:
                reached[response.index] = response.position
        server.process.send_signal(signal.SIGTERM)

        def read_on() -> None:
            for response in responses:
                reached[response.index] = response.position
                if response.HasField("state"):
                    saved[response.index] = response.state.position

        with pytest.raises(grpc.RpcError) as caught:
            read_on()
    assert RequestError.of(caught.value).code is grpc.StatusCode.UNAVAILABLE
    assert saved == reached
    assert server.process.wait(timeout=30) == 0


def test_serves_several_models(serve: Serve, bundle_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_dir, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"name": "other"}))
    server = serve(str(copy), "--precision", "float32")
    with Client(server.address) as client:
        assert {model.name for model in client.models()} == {"small", "other"}
        texts = {client.generate("a", model=name, seed=1).text() for name in ("small", "other")}
        assert len(texts) == 1
        with pytest.raises(RequestError, match="INVALID_ARGUMENT: model must name one of"):
            client.generate("a").text()


def test_an_idle_server_uses_no_processor(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client:
        client.generate("a", max_tokens=2000).text()
    wait_until(lambda: metric(server, "charloom_active_streams") == 0)

    def ticks() -> int:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])  # hundredths of a second, user and system

    before = ticks()
    time.sleep(3)
    assert ticks() - before <= 15


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere/manifest.json: does not exist"),
        (["BUNDLE", "--device", "cuda"], 8, "no CUDA"),
        (["BUNDLE", "--max-streams", "0"], 2, "--max-streams must be at least 1"),
        (["BUNDLE", "--max-streams", "many"], 2, "Invalid value for --max-streams"),
        (["BUNDLE", "BUNDLE"], 2, "two bundles have the same name"),
    ],
)
def test_says_why_it_cannot_start(
    refusal: Refusal, bundle_dir: Path, arguments: list[str], code: int, message: str
) -> None:
    bundle, *options = (str(bundle_dir) if word == "BUNDLE" else word for word in arguments)
    ended, said = refusal(Path(bundle), *options)
    assert ended == code
    assert message in said
    assert "Traceback" not in said


def test_two_servers_do_not_share_a_port(serve_all: Serve, refusal: Refusal, bundle_dir: Path) -> None:
    port = serve_all().address.rsplit(":", 1)[1]
    ended, said = refusal(bundle_dir, "--port", port)
    assert ended == 1
    assert f"cannot open 127.0.0.1:{port}" in said
    assert "Traceback" not in said


def test_threads_share_a_client(serve_all: Serve) -> None:
    server = serve_all()
    texts: dict[int, str] = {}
    with Client(server.address) as client:

        def work(seed: int) -> None:
            texts[seed % 4] = client.generate("a", max_tokens=100, seed=seed % 4).text()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == {seed: client.generate("a", max_tokens=100, seed=seed).text() for seed in range(4)}


@pytest.mark.parametrize("size", [500, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_flood_is_refused_with_a_delay_and_not_dropped(serve: Serve, size: int) -> None:
    server = serve("--max-streams", "4", "--max-waiting", "4")

    async def flood() -> list[object]:
        async with AsyncClient(server.address) as client:
            calls = (client.generate("a", max_tokens=2000).text() for _ in range(size))
            return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(flood())
    texts = [outcome for outcome in outcomes if isinstance(outcome, str)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    assert len(texts) + len(refused) == size
    assert len(texts) >= 8
    assert {error.code for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(error.retry_after for error in refused)
    assert metric(server, "charloom_rejections_total", reason="resource_exhausted") == len(refused)

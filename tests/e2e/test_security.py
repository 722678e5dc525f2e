"""Encryption, callers, limits and logs of a real server process."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, RequestError
from charloom.client.retries import RetryConfig
from charloom.connection import Tls
from charloom.ready import ready_in
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from serving.server import LIVENESS
from tests.conftest import Finished
from tests.e2e.conftest import wait_until

Serve = Callable[..., Any]
Refusal = Callable[..., tuple[int, str]]
SERVING = health_pb2.HealthCheckResponse.SERVING
ENDLESS = 900_000
"""Tokens that no test waits for."""
ONCE = RetryConfig(max_attempts=1)


@pytest.fixture
def callers(tmp_path: Path) -> Path:
    """A file of callers: alice, who may have two streams, bob, who may use another model, and carol."""
    path = tmp_path / "callers.toml"
    path.write_text(
        f'[alice]\ntoken_sha256 = "{sha256(b"sesame").hexdigest()}"\nmax_streams = 2\n'
        f'[bob]\ntoken_sha256 = "{sha256(b"bobs").hexdigest()}"\nmodels = ["other"]\n'
        f'[carol]\ntoken_sha256 = "{sha256(b"carols").hexdigest()}"\n'
    )
    return path


def tls_options(certificate: Path, key: Path) -> list[str]:
    return ["--tls-certificate", str(certificate), "--tls-key", str(key)]


def outcome(server: Any, **connection: Any) -> str:
    """What a new connection gives: ok, or the name of the status code."""
    with Client(server.address, ONCE, **connection) as client:
        try:
            client.generate("a", max_tokens=5, timeout=20).text()
        except RequestError as error:
            return error.code.name
        return "ok"


def health(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status)


def test_a_new_connection_gets_the_new_certificate(serve: Serve, make_authority: Callable[..., Any]) -> None:
    old, new = make_authority("old"), make_authority("new")
    certificate, key = old.issue("server")
    server = serve(*tls_options(certificate, key))
    with Client(server.address, ONCE, tls=Tls(old.root)) as client:
        before = client.generate("a", max_tokens=20, seed=1).text()
        assert outcome(server, tls=Tls(new.root)) == "UNAVAILABLE"
        assert outcome(server) == "UNAVAILABLE"

        fresh_certificate, fresh_key = new.issue("server")
        certificate.write_bytes(fresh_certificate.read_bytes())  # and the key is still the old one
        assert outcome(server, tls=Tls(old.root)) == "ok"
        assert f"tls_key {key} does not belong to the certificate" in server.stderr
        assert "what was read before stays in use" in server.stderr

        key.write_bytes(fresh_key.read_bytes())
        assert outcome(server, tls=Tls(new.root)) == "ok"
        assert outcome(server, tls=Tls(old.root)) == "UNAVAILABLE"
        assert client.generate("a", max_tokens=20, seed=1).text() == before


def test_mutual_tls_wants_a_certificate_of_the_right_authority(
    serve: Serve, make_authority: Callable[..., Any]
) -> None:
    ours, theirs = make_authority("ours"), make_authority("theirs")
    server = serve(
        *tls_options(*ours.issue("server")), "--tls-client-ca", str(ours.root), "--health-port", "0"
    )
    assert outcome(server, tls=Tls(ours.root)) == "UNAVAILABLE"
    assert outcome(server, tls=Tls(ours.root, *theirs.issue("client"))) == "UNAVAILABLE"
    assert outcome(server, tls=Tls(ours.root, *ours.issue("client"))) == "ok"
    ready = ready_in(server.stderr)
    assert ready is not None
    assert ready.health is not None
    assert [health(ready.health), health(ready.health, LIVENESS)] == [SERVING, SERVING]
    with grpc.insecure_channel(ready.health) as channel, pytest.raises(grpc.RpcError) as caught:
        CharloomServiceStub(channel).ListModels(pb.ListModelsRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_callers_get_what_they_may(serve: Serve, callers: Path) -> None:
    server = serve("--tokens", str(callers))
    assert health(server.address) == SERVING
    assert outcome(server) == outcome(server, token="wrong") == "UNAUTHENTICATED"
    with Client(server.address, ONCE, token="bobs") as bob:
        assert bob.models() == []
        for name in ("small", "none-such"):
            with pytest.raises(RequestError, match="PERMISSION_DENIED: you may not use a model"):
                bob.generate("a", model=name).text()
            with pytest.raises(RequestError, match="PERMISSION_DENIED: you may not use a model"):
                bob.model(name)
        with pytest.raises(RequestError) as told:
            bob.generate("a").text()
        assert "small" not in str(told.value)
    with Client(server.address, ONCE, token="sesame") as alice:
        assert [model.name for model in alice.models()] == ["small"]
        running = [iter(alice.generate("a", max_tokens=ENDLESS)) for _ in range(2)]
        assert all(map(next, running))
        with pytest.raises(RequestError, match="RESOURCE_EXHAUSTED: you have all of the 2 streams") as full:
            alice.generate("a").text()
        assert full.value.retry_after == 1
        del running[0]  # who leaves a text stops it
        deadline = time.monotonic() + 20
        while outcome(server, token="sesame") != "ok":
            assert time.monotonic() < deadline
        callers.write_text("")
        assert outcome(server, token="sesame") == "UNAUTHENTICATED"
        assert next(running[0])  # a call that was let in goes on
        running.clear()


def test_a_state_is_its_callers_own(serve: Serve, callers: Path) -> None:
    server = serve("--tokens", str(callers))
    with grpc.insecure_channel(server.address) as channel:
        stub = CharloomServiceStub(channel)

        def generate(token: str, **fields: Any) -> bytes:
            request = pb.GenerateRequest(prompt="a", max_tokens=5, return_state=True, **fields)
            responses = list(stub.Generate(request, metadata=(("authorization", f"Bearer {token}"),)))
            return responses[-1].state.token

        def converse(token: str, state: bytes) -> pb.ConverseResponse:
            commands = iter([pb.ConverseRequest(open=pb.Open(state=state))])
            return next(stub.Converse(commands, metadata=(("authorization", f"Bearer {token}"),)))

        state = generate("sesame")
        assert generate("sesame", state=state)
        assert converse("sesame", state).position == 6
        for other in (lambda: generate("carols", state=state), lambda: converse("carols", state)):
            with pytest.raises(grpc.RpcError, match="given to another caller"):
                other()
        with pytest.raises(grpc.RpcError, match="you may not use a model"):
            generate("bobs", model="small")


def test_texts_and_conversations_count_as_streams(serve: Serve, callers: Path) -> None:
    server = serve("--tokens", str(callers))
    with Client(server.address, ONCE, token="sesame") as alice:
        assert len(alice.score(["a", "b"])) == len(alice.embed(["a", "b"])) == 2
        for ask in (alice.score, alice.embed):
            with pytest.raises(RequestError, match="texts must be at most 2 for you, not 3"):
                ask(["a", "b", "c"])
        with alice.converse(), alice.converse():
            with pytest.raises(RequestError, match="RESOURCE_EXHAUSTED: you have all of the 2 streams"):
                alice.embed(["a"])
            assert alice.models()


def test_the_async_client_shows_its_token_over_tls(serve: Serve, authority: Any, callers: Path) -> None:
    server = serve(*tls_options(*authority.issue("server")), "--tokens", str(callers))

    async def run() -> str:
        async with AsyncClient(server.address, tls=Tls(authority.root), token="sesame") as client:
            assert [model.name for model in await client.models()] == ["small"]
            return await client.generate("a", max_tokens=20).text()

    assert len(asyncio.run(run())) == 20


def test_the_command_line_shows_a_token_over_tls(
    serve: Serve, in_process: Callable[..., Finished], authority: Any, callers: Path, tmp_path: Path
) -> None:
    own = authority.issue("client")
    server = serve(
        *tls_options(*authority.issue("server")),
        *("--tls-client-ca", str(authority.root), "--tokens", str(callers)),
    )
    (tmp_path / "token").write_text("sesame\n")

    def generate(*options: str, **environment: str) -> Finished:
        common = ("--address", server.address, "--seed", 1, "--max-tokens", 20, "--tls-root", authority.root)
        return in_process("generate", *common, *tls_options(*own), *options, cwd=tmp_path, **environment)

    refused = generate()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "UNAUTHENTICATED" in refused.stderr
    assert len(generate("--token-file", str(tmp_path / "token")).stdout) == 20
    assert len(generate(CHARLOOM_TOKEN="sesame").stdout) == 20
    wrong = generate("--token-file", str(tmp_path / "token"), CHARLOOM_TOKEN="wrong")
    assert len(wrong.stdout) == 20, "the command line wins over the environment"
    missing = generate("--token-file", str(tmp_path / "none"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "--token-file" in missing.stderr
    assert "cannot be read" in missing.stderr


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--host", "::"]])
def test_it_does_not_listen_to_everybody_unawares(
    refusal: Refusal, bundle_dir: Path, arguments: list[str]
) -> None:
    code, said = refusal(bundle_dir, *arguments)
    assert code == 2
    assert f"other machines can reach {arguments[1]}" in said
    assert "--insecure-public" in said
    assert "Traceback" not in said


def test_it_listens_to_everybody_when_it_is_fit_for_it(serve: Serve, authority: Any, callers: Path) -> None:
    serve("--host", "0.0.0.0", "--insecure-public", "--metrics-host", "127.0.0.1")
    server = serve("--host", "0.0.0.0", *tls_options(*authority.issue("server")), "--tokens", str(callers))
    server.address = server.address.replace("0.0.0.0", "127.0.0.1")
    assert outcome(server, tls=Tls(authority.root), token="sesame") == "ok"


def test_it_listens_on_a_unix_socket(bundle_dir: Path, tmp_path: Path, serve: Serve) -> None:
    server = serve("--host", f"unix:{tmp_path}/socket")
    assert server.address == f"unix:{tmp_path}/socket"
    assert outcome(server) == "ok"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tls-certificate", "none.pem", "--tls-key", "none.key"], "none.pem cannot be read"),
        (["--tls-key", "none.key"], "--tls-certificate and --tls-key need each other"),
        (["--tokens", "none.toml"], "none.toml cannot be read"),
    ],
)
def test_says_at_once_which_file_it_cannot_use(
    refusal: Refusal, bundle_dir: Path, options: list[str], words: str
) -> None:
    code, said = refusal(bundle_dir, *options)
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert "model" not in said, "before it loads anything"


def test_what_is_too_large_is_refused(serve: Serve) -> None:
    server = serve("--max-request-bytes", "2000", "--max-header-bytes", "2000")
    with grpc.insecure_channel(server.address) as channel:
        stub = CharloomServiceStub(channel)
        for request, metadata, words in (
            (pb.GetModelRequest(name="x" * 3000), (), r"message larger than max \(\d+ vs. 2000\)"),
            (pb.GetModelRequest(), (("x", "y" * 3000),), r"metadata size exceeds .* limit"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetModel(request, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert re.search(words, caught.value.details())
        assert stub.GetModel(pb.GetModelRequest()).model.name == "small"


def test_an_old_connection_gives_way_to_a_new_one(serve: Serve) -> None:
    server = serve("--connection-age", "1", "--connection-grace", "1")
    with Client(server.address, ONCE) as client:
        began = time.monotonic()
        with pytest.raises(RequestError, match="UNAVAILABLE"):
            client.generate("a", max_tokens=ENDLESS).text()
        assert 1.5 < time.monotonic() - began < 30
        assert len(client.generate("a", max_tokens=20).text()) == 20


@pytest.mark.parametrize(("interval", "outlives"), [("0.5", True), ("60", False)])
def test_a_client_that_pings_too_often_is_cut_off(serve: Serve, interval: str, outlives: bool) -> None:
    """On a stream that waits, so that nothing but pings goes over the connection."""
    server = serve("--max-streams", "1", "--min-ping-interval", interval)
    often = (("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0))
    request = pb.GenerateRequest(prompt="a", max_tokens=ENDLESS)
    narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
    with (
        grpc.insecure_channel(server.address, options=narrow) as holder,
        grpc.insecure_channel(server.address, options=often) as channel,
    ):
        running = CharloomServiceStub(holder).Generate(request)
        next(running)  # and no more: it holds the only slot
        waiting = CharloomServiceStub(channel).Generate(request)
        next(waiting)
        if outlives:
            time.sleep(5)
            assert waiting.is_active()
        else:
            wait_until(lambda: not waiting.is_active())
        running.cancel()
        if outlives:
            assert next(waiting).text


def test_a_slow_reader_gives_its_slot_to_others(serve: Serve) -> None:
    server = serve("--max-streams", "1", "--reader-timeout", "1", "--buffer-tokens", "64")
    narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
    with grpc.insecure_channel(server.address, options=narrow) as slow, Client(server.address, ONCE) as quick:
        responses = CharloomServiceStub(slow).Generate(pb.GenerateRequest(prompt="a", max_tokens=ENDLESS))
        next(responses)
        assert len(quick.generate("a", max_tokens=50, timeout=60).text()) == 50
        with pytest.raises(grpc.RpcError) as caught:
            list(responses)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert caught.value.details() == "slow reader: the client took nothing of the stream for 1 s"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_has_every_call_and_no_secret(
    serve: Serve, authority: Any, callers: Path, log_format: str, bundle_dir: Path
) -> None:
    certificate, key = authority.issue("server")
    server = serve(*tls_options(certificate, key), "--tokens", str(callers), "--log-format", log_format)
    prompt = "a secret that nobody may read"
    with Client(server.address, ONCE, tls=Tls(authority.root), token="sesame") as client:
        text = client.generate(prompt, max_tokens=40, seed=1, stop=("another secret",)).text()
        with pytest.raises(RequestError):
            client.generate(f"{prompt}☃").text()
        with pytest.raises(RequestError):
            client.generate("a", model=prompt).text()
        with pytest.raises(RequestError):
            client.model(prompt)
    assert outcome(server, tls=Tls(authority.root), token="swordfish") == "UNAUTHENTICATED"
    with grpc.secure_channel(server.address, Tls(authority.root).credentials()) as channel:
        call = CharloomServiceStub(channel).GetModel.with_call
        metadata = (("authorization", "Bearer sesame"), ("x-request-id", "abc-123"))
        _, done = call(pb.GetModelRequest(), metadata=metadata)
        assert dict(done.initial_metadata())["x-request-id"] == "abc-123"
    server.stop()
    said = server.stderr
    for secret in (prompt, "secret", text, "sesame", "swordfish", "☃", *key.read_text().splitlines()[1:-1]):
        assert secret not in said
    if log_format == "text":
        assert re.search(r"^charloom: Generate small for alice: ok, 40 tokens, ", said, re.MULTILINE)
        assert "charloom: GetModel small for alice: ok, " in said
        assert "(request abc-123)" in said
        assert "charloom: Generate: unauthenticated, " in said
        return
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    done_calls = [line for line in lines if "request_id" in line]
    assert [(c["method"], c["caller"], c["model"], c["outcome"], c["tokens"]) for c in done_calls] == [
        ("Generate", "alice", "small", "ok", 40),
        ("Generate", "alice", "", "invalid_argument", 0),
        ("Generate", "alice", "", "not_found", 0),
        ("GetModel", "alice", "", "not_found", 0),
        ("Generate", "", "", "unauthenticated", 0),
        ("GetModel", "alice", "small", "ok", 0),
    ]
    assert all(line["level"] and line["time"] and line["message"] for line in lines)
    assert 0 < done_calls[0]["seconds"] < 60


BROKEN_NAME = (
    bytes.fromhex("838604")
    + b"\x04/\xff\xfex"
    + b"\x01\x01a"
    + b"\x0f\x10\x10application/grpc"
    + b"\x00\x02te\x08trailers"
)
"""Headers (HPACK) of a call to a method whose name is no UTF-8."""


def test_a_server_that_grpc_has_made_deaf_ends_for_its_supervisor(serve: Serve) -> None:
    """gRPC ends its loop at such a name, and the port is closed while the process lives on."""
    server = serve("--grace", "0.2")
    host, _, port = server.address.rpartition(":")
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    headers = len(BROKEN_NAME).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + BROKEN_NAME
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers)
        code = server.process.wait(30)
    assert code == 1
    assert "gRPC has stopped listening" in server.stderr


def test_who_watches_the_health_and_reads_nothing_holds_up_nobody(serve: Serve) -> None:
    server = serve("--grace", "0.2")
    host, _, port = server.address.rpartition(":")
    # A window of no bytes: nothing that is written to this client ever leaves.
    settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x04\x00\x00\x00\x00"
    path = b"/grpc.health.v1.Health/Watch"
    named = bytes.fromhex("838604") + bytes([len(path)]) + path + b"\x01\x01a"
    block = named + b"\x0f\x10\x10application/grpc" + b"\x00\x02te\x08trailers"
    headers = len(block).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + block
    data = b"\x00\x00\x05\x00\x01\x00\x00\x00\x01" + bytes(5)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers + data)
        time.sleep(2.5)
        server.stop()

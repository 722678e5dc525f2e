"""grpcurl, which knows nothing of Charloom but what the server's reflection tells it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SERVICE = "charloom.v1.CharloomService"


class Grpcurl:
    """Runs grpcurl against one server."""

    def __init__(self, program: str, address: str) -> None:
        self.program = program
        self.address = address

    def run(self, *arguments: str, data: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        given = [] if data is None else ["-d", json.dumps(data)]
        command = [self.program, "-plaintext", "-max-time", "30", *given, self.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def output(self, *arguments: str, data: dict[str, Any] | None = None) -> str:
        result = self.run(*arguments, data=data)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def call(self, method: str, data: dict[str, Any]) -> list[dict[str, Any]]:
        """The responses of a call."""
        rest, decoder, responses = self.output(method, data=data).strip(), json.JSONDecoder(), []
        while rest:
            response, end = decoder.raw_decode(rest)
            responses.append(response)
            rest = rest[end:].lstrip()
        return responses


@pytest.fixture
def grpcurl(tool: Callable[[str], str], serve_all: Callable[..., Any]) -> Grpcurl:
    return Grpcurl(tool("grpcurl"), serve_all().address)


def test_reflection_lists_and_describes_the_service(grpcurl: Grpcurl) -> None:
    assert {SERVICE, "grpc.health.v1.Health"} <= set(grpcurl.output("list").split())
    assert grpcurl.output("list", SERVICE).split() == [
        f"{SERVICE}.{method}"
        for method in ("Converse", "Embed", "Generate", "GenerateSeries", "GetModel", "ListModels", "Score")
    ]
    description = grpcurl.output("describe", SERVICE)
    assert "returns ( stream .charloom.v1.GenerateResponse )" in description
    assert "optional uint64 seed" in grpcurl.output("describe", "charloom.v1.GenerateRequest")


@pytest.mark.parametrize("service", ["", "liveness", SERVICE])
def test_health(grpcurl: Grpcurl, service: str) -> None:
    assert grpcurl.call("grpc.health.v1.Health/Check", {"service": service}) == [{"status": "SERVING"}]


def test_health_of_a_stranger(grpcurl: Grpcurl) -> None:
    result = grpcurl.run("grpc.health.v1.Health/Check", data={"service": "nonsense"})
    assert "NotFound" in result.stderr


def test_models(grpcurl: Grpcurl, bundle_dir: Path) -> None:
    manifest = json.loads((bundle_dir / "manifest.json").read_text())
    [answer] = grpcurl.call(f"{SERVICE}/ListModels", {})
    [model] = answer["models"]
    assert model["name"] == manifest["name"]
    assert model["bundle_digest"].startswith("sha256:")
    assert grpcurl.call(f"{SERVICE}/GetModel", {"name": model["name"]}) == [{"model": model}]


def test_generate(grpcurl: Grpcurl) -> None:
    request = {"prompt": "The ", "max_tokens": 50, "seed": 1, "token_ids": True, "logprobs": 0}
    first, *others = grpcurl.call(f"{SERVICE}/Generate", request)
    assert first["start"]["seed"] == "1"
    assert len("".join(response.get("text", "") for response in others)) == 50
    assert sum(len(response.get("token_ids", [])) for response in others) == 50
    assert sum(len(response.get("logprobs", [])) for response in others) == 50
    assert others[-1]["position"] == "54"
    assert others[-1]["finish"] == {
        "reason": "FINISH_REASON_LENGTH",
        "prompt_tokens": "4",
        "generated_tokens": "50",
    }


def test_bad_request_names_every_field(grpcurl: Grpcurl) -> None:
    result = grpcurl.run(f"{SERVICE}/Generate", data={"temperature": [-1], "top_p": 2, "prompt": "a"})
    assert result.returncode != 0
    assert "InvalidArgument" in result.stderr
    detail = json.loads(result.stderr[result.stderr.index("{") :])
    assert detail["@type"].endswith("/google.rpc.BadRequest")
    assert [violation["field"] for violation in detail["field_violations"]] == ["temperature", "top_p"]


def test_a_series_of_texts_is_that_of_single_calls(grpcurl: Grpcurl) -> None:
    generate = {"model": "small", "prompt": "The ", "max_tokens": 20, "seed": 5}
    request = {"generate": generate, "first": 3, "stride": 4, "count": 6, "parallel": 2, "whole": True}
    start, *parts = grpcurl.call(f"{SERVICE}/GenerateSeries", request)
    assert start["start"]["seed"] == "5"
    texts = {
        int(index): text for part in parts for index, text in zip(part["indexes"], part["texts"], strict=True)
    }
    assert sorted(texts) == [3, 7, 11, 15, 19, 23]
    single = grpcurl.call(f"{SERVICE}/Generate", generate | {"seed": 5 + 11})
    assert "".join(part.get("text", "") for part in single) == texts[11]

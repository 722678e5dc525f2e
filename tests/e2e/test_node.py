"""A client in Node.js, built from the .proto file alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).parent / "node"
SEED = 2**64 - 1
"""Beyond what a JavaScript number holds."""


@pytest.fixture
def ask(
    tool: Callable[[str], str], serve_all: Callable[..., Any]
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Has the Node client send a request to a server."""
    node = tool("node")
    if not (CLIENT / "node_modules").is_dir():
        pytest.skip("no gRPC for Node.js: run `make test-all`, which installs it")
    address = serve_all().address

    def run(**request: Any) -> subprocess.CompletedProcess[bytes]:
        command = [node, "client.js", address, str(ROOT / "proto"), json.dumps(request)]
        return subprocess.run(command, cwd=CLIENT, capture_output=True, timeout=60, check=False)

    return run


def test_text_equals_that_of_the_command_line(ask: Callable[..., Any], bundle_dir: Path) -> None:
    result = ask(prompt="The ", max_tokens=300, seed=str(SEED), temperature=[0.9])
    assert result.returncode == 0, result.stderr
    start, finish = map(json.loads, result.stderr.splitlines())
    assert start["start"]["seed"] == str(SEED)
    assert finish["finish"]["reason"] == "FINISH_REASON_LENGTH"

    command = [sys.executable, "-m", "charloom", "generate", "--bundle", str(bundle_dir)]
    options = ["--prompt", "The ", "--max-tokens", "300", "--seed", str(SEED), "--temperature", "0.9"]
    local = subprocess.run([*command, *options], capture_output=True, timeout=60, check=True)
    assert result.stdout == local.stdout


def test_error_reaches_the_client(ask: Callable[..., Any]) -> None:
    result = ask(model="nobody")
    assert result.returncode == 1
    assert result.stderr.startswith(b"NOT_FOUND: ")

"""The README's programs, run as they are printed but for the address and the bundle."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NODE = Path(__file__).parent / "node"


def snippets(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def adapted(code: str, address: str, bundle: Path) -> str:
    """A program with the test's own server, bundle and a prompt of the bundle's characters."""
    assert "127.0.0.1:50051" in code or "bundles/mine" in code
    return code.replace("127.0.0.1:50051", address).replace("bundles/mine", str(bundle))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_python(index: int, serve_all: Callable[..., Any], bundle_dir: Path, tmp_path: Path) -> None:
    address = serve_all().address
    code = adapted(snippets("python")[index], address, bundle_dir)
    code = code.replace('"127.0.0.1:50052"', f'"{address}"')
    if "from charloom.client" not in code and "LocalModel" not in code:
        code = f"from charloom.client import Client\n{code}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert len(snippets("python")) == 3
    if index == 0:
        assert len(result.stdout) == 500
    elif index == 1:
        assert float(result.stdout.splitlines()[-1]) < 0
    else:
        assert (tmp_path / "out.txt").stat().st_size > 10_000


@pytest.mark.slow
def test_node(tool: Callable[[str], str], serve_all: Callable[..., Any], bundle_dir: Path) -> None:
    if not (NODE / "node_modules").is_dir():
        pytest.skip("no gRPC for Node.js: run `make test-all`, which installs it")
    [code] = snippets("js")
    code = adapted(code, serve_all().address, bundle_dir).replace(
        "proto/charloom/", f"{ROOT}/proto/charloom/"
    )
    result = subprocess.run(
        [tool("node"), "-e", code], cwd=NODE, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) == 500

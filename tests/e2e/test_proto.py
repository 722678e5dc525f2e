"""The wire contract in the eyes of buf."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROTO = Path(__file__).parents[2] / "proto"


def test_buf_finds_nothing_wrong(tool: Callable[[str], str]) -> None:
    result = subprocess.run(
        [tool("buf"), "lint", str(PROTO)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr

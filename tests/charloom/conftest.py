"""The command line in a process of its own, as users run it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]


def run_python(*arguments: object, cwd: Path | None = None, **env: str) -> Finished:
    """Runs this Python with no setting of Charloom's in its environment but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHARLOOM_")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=inherited | {"COLUMNS": "400", "OMP_WAIT_POLICY": "passive"} | env,
    )


@pytest.fixture
def python() -> Callable[..., Finished]:
    return run_python


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Finished]:
    """Runs `charloom` in an empty folder; keyword arguments are environment variables."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*arguments: object, **env: str) -> Finished:
        return run_python("-m", "charloom", *arguments, cwd=folder, **env)

    return run

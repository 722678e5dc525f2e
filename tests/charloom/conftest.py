"""The command line, in this process and in fresh ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished


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
def cli(in_process: Callable[..., Finished], tmp_path: Path) -> Callable[..., Finished]:
    """Runs `charloom` in this process and an empty folder; keyword arguments are environment variables."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*arguments: object, **env: str) -> Finished:
        return in_process(*arguments, cwd=folder, **env)

    return run

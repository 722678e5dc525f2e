"""The Dockerfile."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def test_it_holds_every_package_and_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE.read_text(), re.MULTILINE))
    assert copied == {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(allowed)
    assert f"ARG VERSION={project['project']['version']}\n" in DOCKERFILE.read_text()


@pytest.mark.slow
def test_hadolint_finds_nothing_wrong(tool: Callable[[str], str]) -> None:
    result = subprocess.run(
        [tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr

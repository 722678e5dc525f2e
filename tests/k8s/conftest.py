"""Foreign tools that read the manifests."""

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a skip a failure in `make test-all`, which installs every tool."""
    report = yield
    if os.environ.get("CHARLOOM_TEST_ALL") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and make test-all skips nothing: {call.excinfo and call.excinfo.value}"
    return report


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Finds a foreign program by name; skips the test without it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
        if path is None:
            pytest.skip(f"no {name}: run `make test-all`, which installs it")
        return path

    return find

"""The benchmark of offline generation still runs; what it measures is not judged here."""

import subprocess
import sys

import pytest

from tests.conftest import PRECISIONS

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


@pytest.mark.slow
def test_delivered_records_are_measured_beside_bare_bursts() -> None:
    command = [sys.executable, "-m", "benchmarks.offline", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    header, _, *rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[1] for row in rows] == list(PRECISIONS)
    assert {row.count("|") for row in rows} == {header.count("|")}

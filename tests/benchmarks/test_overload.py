"""The benchmark of a flood still runs; what it measures is not judged here."""

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


@pytest.mark.slow
def test_a_flood_is_refused_and_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.overload", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    header, _, *rows = re.findall(r"^\| .*", result.stdout, re.MULTILINE)
    assert {row.count("|") for row in rows} == {header.count("|")}
    figures = {what: middle for what, middle, _ in (row.strip("| ").split(" | ") for row in rows)}
    assert len(figures) == 8
    assert float(figures["refusals a second"]) > 0
    assert figures["calls of the flood that were not refused"] == "0"

"""The benchmark of series still runs; what it measures is not judged here."""

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


@pytest.mark.slow
def test_measures_both_in_turn() -> None:
    command = [sys.executable, "-m", "benchmarks.series", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    *_, row = result.stdout.splitlines()
    assert re.fullmatch(r"\| 32x2 \| \w+ \| 8 \| [\d.]+ \| [\d.]+ \| \d+% \|", row)

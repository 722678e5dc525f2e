"""The training benchmark still runs; what it measures is not judged here."""

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


@pytest.mark.slow
def test_training_is_measured_beside_bare_steps_and_in_other_ways() -> None:
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--device", "cpu"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loop, ways = re.findall(r"(?:^\| .*\n)+", result.stdout, re.MULTILINE)
    for table in (loop, ways):
        header, _, *rows = table.splitlines()
        assert rows[0].split(" | ")[1] == "float32"
        assert {row.count("|") for row in rows} == {header.count("|")}

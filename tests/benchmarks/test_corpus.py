"""The benchmark of reading texts: it measures, whatever the figures are."""

import subprocess
import sys

from benchmarks.corpus import TEXTS


def test_a_row_for_each_text():
    command = [sys.executable, "-m", "benchmarks.corpus", "--megabytes", "0.5", "--rounds", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(TEXTS)
    for row in rows[2:]:
        assert all(int(cell.replace(",", "")) > 0 for cell in row[1:])

"""The engine's benchmarks still run; what they measure is not judged here."""

import subprocess
import sys

import pytest

from tests.conftest import PRECISIONS

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


def run(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
def test_the_engine_is_measured_beside_all_others() -> None:
    pytest.importorskip("openvino", reason="make bench-engine installs it")
    header, _, *rows = [line for line in run("benchmarks.engine", "--quick") if line.startswith("|")]
    assert [row.split(" | ")[1] for row in rows] == ["1", "8"]
    assert {row.count("|") for row in rows} == {header.count("|")}


def test_large_vocabularies_are_measured_beside_their_products() -> None:
    header, _, *rows = [line for line in run("benchmarks.vocabularies", "--quick") if line.startswith("|")]
    assert [row.split(" | ")[1:3] for row in rows] == [[p, n] for p in PRECISIONS for n in ("1", "4")]
    assert {row.count("|") for row in rows} == {header.count("|")}


@pytest.mark.slow
def test_a_profile_names_the_operators() -> None:
    # Large enough that products take most of the time: the operators of a smaller model come in any order.
    lines = run("benchmarks.profile", "--model", "256x1", "--batches", "1,4")
    assert any(line.startswith("| Gemm |") for line in lines)
    assert any(line.startswith("| MatMulIntegerToFloat |") for line in lines) == ("int8" in PRECISIONS)

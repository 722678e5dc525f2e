"""The server's benchmark still runs; what it measures is not judged here."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from benchmarks.bare import bare_rate
from benchmarks.load import LENGTHS, LONG, SHORT, Load
from benchmarks.table import median, times
from serving.engine.config import RunnerConfig
from serving.model import Model
from tests.serving.golden import FOLDER

pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(900)]


@pytest.mark.slow
def test_measures_all_there_is(tool: Callable[[str], str]) -> None:
    tool("k6")
    command = [sys.executable, "-m", "benchmarks.server", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    together, spread, k6 = re.findall(r"(?:^\| .*\n)+", result.stdout, re.MULTILINE)
    for table in (together, spread, k6):
        header, _, *rows = table.splitlines()
        assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 8"]
        assert {row.count("|") for row in rows} == {header.count("|")}
    assert re.search(r"An idle server uses \d+\.\d\d% of a core", result.stdout)


def test_a_load_is_the_same_for_whoever_bears_it() -> None:
    load = Load(streams=3, tokens=0, alphabet="ab")
    first, again = (load.requests(1) for _ in range(2))
    asks = [next(first) for _ in range(200)]
    assert asks == [next(again) for _ in range(200)]
    assert asks[0] != next(load.requests(2))
    assert {len(ask.prompt) for ask in asks} == {SHORT, LONG}
    assert all(LENGTHS[0] <= ask.max_tokens <= LENGTHS[1] for ask in asks)


class Clock:
    """A clock that goes on as it is looked at, however fast this machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.05
        return self.now


@pytest.mark.parametrize("tokens", [0, 30])
def test_the_bare_engine_bears_it(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(FOLDER / "lstm", RunnerConfig("cpu", "float32", threads=1), largest_batch=8)
    monkeypatch.setattr("benchmarks.bare.time", Clock())
    assert bare_rate(model, Load(streams=2, tokens=tokens, seconds=1, alphabet="ab")) > 0


def test_figures_are_medians_of_the_rounds() -> None:
    assert median(float)([1, 30, 2]) == "2"
    assert times(lambda seconds: seconds)([[0.001] * 98 + [0.5] * 2, [0.003], []]) == "2 / 252"

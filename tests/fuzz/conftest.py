"""Fuzzing: cases of one kind after another for as long as there is time, and a server that must bear them.

`make test` runs some dozens of each kind. `make fuzz` runs them for FUZZ seconds altogether, and says
how many of each kind there were.
"""

import base64
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from benchmarks.scrape import scrape
from serving.rpc.security.sealing import Key, Sealer
from tests.conftest import ROOT
from tests.e2e.conftest import ServerProcess, launch

SECONDS = float(os.environ.get("CHARLOOM_FUZZ", "0"))
"""Duration of all kinds together; 0 for one short round of each."""
EXAMPLES = 60 if SECONDS else 24
"""Cases of one round: hypothesis begins each anew, with simple ones."""
BUNDLE = ROOT / "tests" / "golden" / "lstm"
KEY = Key("fuzz", bytes(range(32)))
LIMITS = (
    *("--precision", "float32", "--threads", "1", "--max-streams", "8", "--max-waiting", "24"),
    *("--max-tokens", "300", "--max-prompt", "5000", "--max-texts", "20", "--max-branches", "4"),
)
"""Small, so that a case that is let in is soon over."""
MEMORY = 400 * 2**20
"""Most bytes by which a server may grow."""
PATIENCE = 20
"""Seconds that a case may take."""

kinds: list[str] = []
counts: Counter[str] = Counter()


class Rounds:
    """Runs cases of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def run(self, cases: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        """Checks round after round of cases until the time of this kind is over."""
        until = time.monotonic() + SECONDS / max(1, len(kinds))

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(cases)
        def check_round(case: Any) -> None:
            counts[self.kind] += 1
            started = time.monotonic()
            check(case)
            assert time.monotonic() - started < PATIENCE, "a case takes too long"

        check_round()
        while time.monotonic() < until:
            check_round()


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    return Rounds(request.node.nodeid.rpartition("/")[2])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Notes the kinds, among which the time is shared."""
    kinds.extend(item.nodeid for item in session.items if "rounds" in getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how many cases of each kind there were, in the long form."""
    if SECONDS:
        for kind, count in counts.items():
            terminalreporter.write_line(f"{count:9,} cases of {kind}")


class Target:
    """A server under fire."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(
            server.address, options=[("grpc.max_receive_message_length", -1)]
        )
        self.memory = self.resident()

    def resident(self) -> int:
        """Bytes that the server takes."""
        status = Path(f"/proc/{self.server.process.pid}/status")
        if not status.exists():
            return 0
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmRSS" in line) * 1024
        )

    def status(self, method: str, *requests: bytes) -> grpc.StatusCode:
        """The status that a call with these bytes ends with."""
        call = self.channel.stream_stream(method)(iter(requests), timeout=PATIENCE)
        with suppress(grpc.RpcError):
            for _ in call:
                pass
        if call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            busy = "grpc-retry-pushback-ms" in dict(call.trailing_metadata())
            assert busy or sum(map(len, requests)) > 4 * 2**20, call.details()
        return call.code()

    def check(self) -> None:
        """Raises unless the server is well, and nothing is left of the calls."""
        assert self.server.process.poll() is None, self.server.stderr
        assert "Traceback" not in self.server.stderr, self.server.stderr
        assert self.resident() < self.memory + MEMORY, "the server grows"
        deadline = time.monotonic() + 10
        while left := self.left():
            assert time.monotonic() < deadline, f"left over: {left}"
            time.sleep(0.05)

    def left(self) -> list[str]:
        """What the metrics say is still under way."""
        gauges = ("charloom_active_streams", "charloom_waiting_streams")
        found = [sample for sample in scrape(self.server.metrics_url) if sample.name in gauges]
        assert len(found) == 2, found
        return [sample.name for sample in found if sample.value]


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all cases, whose key is known."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "keys").write_text(f"{KEY.id}:{base64.b64encode(KEY.secret).decode()}\n")
    server = launch(BUNDLE, folder / "log", *LIMITS, "--state-keys", str(folder / "keys"))
    try:
        server.wait_until_ready()
        target = Target(server)
        yield target
        target.check()
        target.channel.close()
        server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def sealer() -> Sealer:
    """Seals as the server does."""
    return Sealer([KEY], 0)

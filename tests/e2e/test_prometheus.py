"""A real Prometheus that scrapes a real server."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from charloom.client import Client

pytestmark = pytest.mark.slow

CONFIG = """
scrape_configs:
  - job_name: charloom
    scrape_interval: 1s
    static_configs:
      - targets: ["{target}"]
"""


def test_promtool_finds_nothing_wrong(tool: Callable[[str], str], serve_all: Callable[..., Any]) -> None:
    promtool, server = tool("promtool"), serve_all()
    with Client(server.address) as client:
        client.generate("The ", max_tokens=20).text()
    with urlopen(server.metrics_url, timeout=10) as response:
        metrics = response.read()
    result = subprocess.run(
        [promtool, "check", "metrics"], input=metrics, capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 0, (result.stdout + result.stderr).decode()


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urlopen(f"http://{self.address}/-/ready", timeout=10):
                return True
        except HTTPError:  # 503
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        url = f"http://{self.address}/api/v1/query?{urlencode({'query': expression})}"
        with urlopen(url, timeout=10) as response:
            samples: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return samples

    def wait_for(self, expression: str, value: float) -> dict[str, str]:
        """Waits until the one sample of a query has a value; gives its labels."""
        deadline = time.monotonic() + 30
        while True:
            samples = self.query(expression)
            if len(samples) == 1 and float(samples[0]["value"][1]) == value:
                labels: dict[str, str] = samples[0]["metric"]
                return labels
            assert time.monotonic() < deadline, f"{expression} is not {value} but {samples}"
            time.sleep(0.5)


@pytest.fixture
def prometheus(tool: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[[str], Prometheus]]:
    """Starts a Prometheus on a target and waits until it is ready; it is stopped after the test."""
    program, log = tool("prometheus"), tmp_path / "prometheus.log"
    processes: list[subprocess.Popen[bytes]] = []

    def start(target: str) -> Prometheus:
        config = tmp_path / "prometheus.yaml"
        config.write_text(CONFIG.format(target=target))
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with log.open("wb") as file:
            processes.append(subprocess.Popen(command, stderr=file))
        deadline = time.monotonic() + 30
        while not (listening := re.search(r'msg="Listening on" address=(\S+)', log.read_text())):
            assert processes[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        watching = Prometheus(listening[1])
        while not watching.ready():  # it listens before its storage is open, and refuses queries until then
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return watching

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


def test_prometheus_counts_tokens(
    serve: Callable[..., Any], prometheus: Callable[[str], Prometheus], bundle_dir: Path
) -> None:
    server = serve()
    with Client(server.address) as client:
        client.generate("The ", max_tokens=123).text()
        [model] = client.models()
    watching = prometheus(server.metrics_url.removeprefix("http://").removesuffix("/metrics"))
    labels = watching.wait_for("charloom_generated_tokens_total", 123)
    assert labels["model"] == model.name
    watching.wait_for("charloom_prompt_tokens_total", 4)
    watching.wait_for('charloom_requests_total{outcome="ok"}', 1)
    watching.wait_for("charloom_active_streams", 0)
    info = watching.wait_for("charloom_model_info", 1)
    assert info["digest"] == model.bundle_digest

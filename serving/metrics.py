"""Metrics for Prometheus, all of them named `charloom_…`."""

import time
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from charloom.errors import CharloomError

TOKEN_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
FIRST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
BURST_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)

Family = TypeVar("Family", bound=MetricWrapperBase)


class MetricsError(CharloomError):
    """The metrics port cannot be opened."""


class Metrics:
    """The metric families of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"charloom_{name}", text, ["model"], buckets=buckets, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"charloom_{name}", text, ["model", *labels], registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"charloom_{name}", text, ["model", *labels], registry=self.registry)

        self.first_token = histogram(
            "time_to_first_token_seconds", "From a request's arrival to its first text.", FIRST_SECONDS
        )
        self.between_tokens = histogram(
            "time_between_tokens_seconds",
            "Time between two responses of a stream, per token of the second.",
            TOKEN_SECONDS,
        )
        self.burst_seconds = histogram("burst_duration_seconds", "How long a burst ran.", BURST_SECONDS)
        self.burst_rows = histogram("burst_rows", "Streams in a burst.", ROWS)
        self.burst_steps = histogram("burst_steps", "Steps of a burst.", ROWS[:8])
        self.active = gauge("active_streams", "Streams that hold a slot.")
        self.waiting = gauge("waiting_streams", "Requests that wait for a slot.")
        self.slots = gauge("slots", "Slots there are.")
        self.read = counter("prompt_tokens", "Prompt tokens read.")
        self.generated = counter("generated_tokens", "Tokens generated.")
        self.requests = counter("requests", "Requests ended, by outcome.", "outcome")
        self.rejections = counter("rejections", "Requests refused on arrival, by reason.", "reason")
        self.info = gauge(
            "model_info", "What is served; always 1.", "version", "digest", "precision", "execution_class"
        )

    def listen(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serves the metrics over HTTP; returns the port and a function that stops it.

        Raises:
            MetricsError: the port cannot be opened.
        """
        try:
            server, thread = start_http_server(port, host.strip("[]"), self.registry)
        except OSError as error:
            raise MetricsError(f"cannot open metrics port {host}:{port}: {error.strerror}") from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, stop


class ModelMetrics:
    """The metrics of one model: the series whose label `model` is its name, until it is closed."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._series: set[tuple[MetricWrapperBase, tuple[str, ...]]] = set()
        self._closed = False

    def watch(self, active: Callable[[], int], waiting: Callable[[], int], slots: int) -> None:
        """Exports the number of slots, and those of streams, which are read at each scrape."""
        self._of(self._metrics.active).set_function(active)
        self._of(self._metrics.waiting).set_function(waiting)
        self._of(self._metrics.slots).set(slots)

    def describe(self, version: str, digest: str, precision: str, execution_class: str) -> None:
        """Exports what is served."""
        self._of(self._metrics.info, version, digest, precision, execution_class).set(1)

    def count_burst(self, rows: int, steps: int, seconds: float, read: int, generated: int) -> None:
        """Counts one burst."""
        self._of(self._metrics.burst_seconds).observe(seconds)
        self._of(self._metrics.burst_rows).observe(rows)
        self._of(self._metrics.burst_steps).observe(steps)
        self._of(self._metrics.read).inc(read)
        self._of(self._metrics.generated).inc(generated)

    def count_request(self, outcome: str) -> None:
        """Counts a request that has ended."""
        self._of(self._metrics.requests, outcome).inc()

    def count_rejection(self, reason: str) -> None:
        """Counts a request that was refused on arrival."""
        self._of(self._metrics.rejections, reason).inc()

    def token_timer(self) -> "TokenTimer":
        """Returns a timer for one text, which starts now."""
        return TokenTimer(self._of(self._metrics.first_token), self._of(self._metrics.between_tokens))

    def close(self) -> None:
        """Removes all series of the model; what is counted from now on is dropped."""
        self._closed = True
        for family, labels in self._series:
            family.remove(self._model, *labels)
        self._series.clear()

    def _of(self, family: Family, *labels: str) -> Family:
        """Returns the model's series of a family, by its further labels."""
        series = family.labels(self._model, *labels)
        if self._closed:
            family.remove(self._model, *labels)  # `labels` has just added it again
        else:
            self._series.add((family, labels))
        return series


class TokenTimer:
    """Measures the time to the first token of one text, and the time between its tokens."""

    def __init__(self, first: Histogram, between: Histogram) -> None:
        self._first = first
        self._between = between
        self._started = time.perf_counter()
        self._last: float | None = None

    def observe(self, tokens: int) -> None:
        """Observes a response with so many tokens."""
        if tokens == 0:
            return
        now = time.perf_counter()
        if self._last is None:
            self._first.observe(now - self._started)
        else:
            self._between.observe((now - self._last) / tokens)
        self._last = now

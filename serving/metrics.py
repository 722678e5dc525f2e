"""What Prometheus is told, all of it under `charloom_`.

It counts what it is handed and knows neither engines nor gRPC.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from charloom.errors import CharloomError

TOKEN_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
FIRST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
BURST_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class MetricsError(CharloomError):
    """The metrics port cannot be opened."""


class Metrics:
    """Every metric of one server, in a registry of its own."""

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

    def watch(self, model: str, active: Callable[[], int], waiting: Callable[[], int], slots: int) -> None:
        """Reads a model's streams whenever Prometheus asks."""
        self.active.labels(model).set_function(active)
        self.waiting.labels(model).set_function(waiting)
        self.slots.labels(model).set(slots)

    def burst(self, model: str, rows: int, steps: int, seconds: float, read: int, generated: int) -> None:
        """Counts one burst."""
        self.burst_seconds.labels(model).observe(seconds)
        self.burst_rows.labels(model).observe(rows)
        self.burst_steps.labels(model).observe(steps)
        self.read.labels(model).inc(read)
        self.generated.labels(model).inc(generated)

    def listen(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serves the metrics over HTTP; gives the port and how to stop.

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

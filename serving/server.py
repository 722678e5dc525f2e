"""The server: ports, health, and the order of starting and stopping.

It knows what runs and what is told to whom; what a request means is the servicer's.
"""

import asyncio
import logging
import signal
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from charloom.errors import CharloomError, require
from charloom.v1 import charloom_pb2
from charloom.v1.charloom_pb2_grpc import add_CharloomServiceServicer_to_server
from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import Report
from serving.engine.scheduler import SchedulerConfig
from serving.errors import StalledError
from serving.metrics import Metrics
from serving.models import Model, Models
from serving.rpc.conversation import ConversationLimits
from serving.rpc.convert import RequestLimits
from serving.rpc.decoding import DecodingInterceptor
from serving.rpc.sealing import Sealer
from serving.rpc.servicer import Servicer

logger = logging.getLogger(__name__)

SERVICE = charloom_pb2.DESCRIPTOR.services_by_name["CharloomService"].full_name
OPTIONS = (
    # Two servers on one port would share it without a word, and each get half the calls.
    ("grpc.so_reuseport", 0),
    # gRPC cancels what is beyond its own queue, of 1,000 calls. Admission is the engine's, which
    # says why and when to come back; this only bounds the memory of a flood.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)
LIVENESS = "liveness"
"""Health service that says whether bursts advance; the others say whether requests are taken."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class ServerConfig:
    """Where the server listens and how it ends."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = 50051
    """Port of the gRPC service; 0 for a free one."""
    metrics_port: int = 9464
    """Port of the Prometheus metrics; 0 for a free one."""
    grace: float = 30.0
    """Seconds that running texts get to finish after SIGTERM."""
    patience: float = 10.0
    """Seconds without a finished burst, while there is work, after which liveness fails."""
    heartbeat: float = 10.0
    """Seconds without news for a call, after which an empty message says that it is alive; about a second
    more or less."""

    def __post_init__(self) -> None:
        require(0 <= self.port < 65536, "port", "must be 0 (any free one) to 65535")
        require(0 <= self.metrics_port < 65536, "metrics-port", "must be 0 (any free one) to 65535")
        require(self.grace >= 0, "grace", "must be 0 seconds or more")
        require(self.heartbeat > 0, "heartbeat", "must be above 0 seconds")
        require(self.patience > 0, "patience", "must be above 0 seconds")


class PortError(CharloomError):
    """The gRPC port cannot be opened."""


class Server:
    """Serves models until it is told to stop."""

    def __init__(
        self,
        models: Models,
        config: ServerConfig,
        scheduling: SchedulerConfig,
        limits: RequestLimits,
        sealer: Sealer,
        bounds: ConversationLimits = ConversationLimits(),
    ) -> None:
        self.models = models
        self.config = config
        self.metrics = Metrics()
        self.engines = {model.name: self._engine(model, scheduling) for model in models}
        self.servicer = Servicer(models, self.engines, limits, self.metrics, sealer, bounds)
        self.health = health.HealthServicer()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets running texts finish within the grace period.

        Raises:
            PortError: the gRPC port cannot be opened.
            MetricsError: the metrics port cannot be opened.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server, port = self._listen()
        metrics_port, stop_metrics = self.metrics.listen(self.config.host, self.config.metrics_port)
        for engine in self.engines.values():
            engine.start()
        await server.start()
        watch = asyncio.create_task(self._report_health())
        logger.info(
            "ready: gRPC on %s, metrics on http://%s/metrics",
            host_port(self.config.host, port),
            host_port(self.config.host, metrics_port),
        )
        try:
            await stop.wait()
            await self._drain()
        finally:
            watch.cancel()
            for engine in self.engines.values():
                await engine.stop()
            await server.stop(1.0)  # the last messages, errors of abandoned streams among them
            stop_metrics()
        logger.info("stopped")

    def _engine(self, model: Model, scheduling: SchedulerConfig) -> AsyncEngine:
        """A model's engine, its bursts and streams counted by the metrics."""
        engine = model.engine(scheduling)

        def observe(report: Report) -> None:
            if report.steps:
                self.metrics.burst(
                    model.name, report.rows, report.steps, report.seconds, report.read, report.generated
                )

        self.metrics.watch(model.name, lambda: engine.pool.used, lambda: engine.waiting, engine.pool.capacity)
        manifest = model.bundle.manifest
        self.metrics.info.labels(
            model.name,
            manifest.version,
            model.bundle.digest,
            model.runner.precision,
            str(model.runner.execution_class),
        ).set(1)
        return AsyncEngine(engine, model.name, observe)

    def _listen(self) -> tuple[grpc.aio.Server, int]:
        """A gRPC server with all services and its open port."""
        server = grpc.aio.server(options=OPTIONS, interceptors=[DecodingInterceptor()])
        add_CharloomServiceServicer_to_server(self.servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        address = host_port(self.config.host, self.config.port)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            reason = "is it an address of this machine, and the port free?"
            raise PortError(f"cannot open {address}: {reason}") from error
        return server, port

    async def _report_health(self) -> None:
        """Keeps the health service up to date."""
        while True:
            healthy = [self._see_to(engine) for engine in self.engines.values()]
            alive = all(healthy)
            ready = alive and not self.servicer.draining
            await self.health.set(LIVENESS, SERVING if alive else NOT_SERVING)
            for name in ("", SERVICE):
                await self.health.set(name, SERVING if ready else NOT_SERVING)
            self.servicer.beat(self.config.heartbeat)
            await asyncio.sleep(1)

    def _see_to(self, engine: AsyncEngine) -> bool:
        """Whether an engine is healthy; streams of one that is stuck are broken off, to go on elsewhere."""
        healthy = engine.thread.healthy(self.config.patience)
        if not healthy and engine.thread.alive:
            engine.break_off(StalledError(self.config.patience))
        return healthy

    async def _drain(self) -> None:
        """Takes no more requests and waits for those that run, at most the grace period."""
        self.servicer.drain()
        for name in ("", SERVICE):
            await self.health.set(name, NOT_SERVING)
        logger.info("shutting down: running texts have %g s to finish", self.config.grace)
        deadline = asyncio.get_running_loop().time() + self.config.grace
        while asyncio.get_running_loop().time() < deadline:
            if self.servicer.idle:
                return
            await asyncio.sleep(0.02)


def host_port(host: str, port: int) -> str:
    """An address as URLs and gRPC write it: an IPv6 host in brackets."""
    return f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"

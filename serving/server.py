"""The server: ports, health, and the order of starting and stopping.

It knows what runs and what is told to whom; what a request means is the servicer's.
"""

import asyncio
import logging
import signal
from dataclasses import dataclass, field

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from charloom.errors import CharloomError
from charloom.ready import Ready
from charloom.v1 import charloom_pb2
from charloom.v1.charloom_pb2_grpc import add_CharloomServiceServicer_to_server
from serving.config import ServerConfig
from serving.engine.async_engine import AsyncEngine
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Report
from serving.metrics import Metrics
from serving.models import Model, Models
from serving.rpc.calls import Calls
from serving.rpc.connections import ConnectionConfig
from serving.rpc.decoding import DecodingInterceptor
from serving.rpc.health import Health
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.security.callers import Callers
from serving.rpc.security.exposure import is_unix
from serving.rpc.security.sealing import Sealer
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


class PortError(CharloomError):
    """A gRPC port cannot be opened."""


class DeafError(CharloomError):
    """Nobody can connect any more, though nobody has asked the server to end."""


@dataclass(frozen=True)
class Access:
    """How calls come in: over which connections, encrypted or not, and from whom."""

    connections: ConnectionConfig = ConnectionConfig()
    credentials: grpc.ServerCredentials | None = None
    """What encrypts connections."""
    callers: Callers = field(default_factory=Callers)


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
        access: Access = Access(),
    ) -> None:
        self.models = models
        self.config = config
        self.access = access
        self.metrics = Metrics()
        self.engines = {model.name: self._engine(model, scheduling) for model in models}
        self.servicer = Servicer(models, self.engines, limits, self.metrics, sealer, bounds)
        self.health = Health()
        self.deaf = False
        """Whether gRPC has stopped listening by itself."""

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets running texts finish within the grace period.

        Raises:
            PortError: the gRPC port cannot be opened.
            DeafError: gRPC has stopped listening by itself; running texts got the grace period too.
            MetricsError: the metrics port cannot be opened.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        servers, addresses = self._listen()
        metrics_host = self.config.metrics_host or self.config.tcp_host
        metrics_port, stop_metrics = self.metrics.listen(metrics_host, self.config.metrics_port)
        for engine in self.engines.values():
            engine.start()
        for server in servers:
            await server.start()
        watch = asyncio.create_task(self._report_health(servers, stop))
        metrics = f"http://{host_port(metrics_host, metrics_port)}/metrics"
        logger.info("%s", Ready(addresses[0], metrics, *addresses[1:]))
        try:
            await stop.wait()
            await self._drain()
        finally:
            watch.cancel()
            for engine in self.engines.values():
                await engine.stop()
            # The last messages, errors of abandoned streams among them.
            await asyncio.gather(*(server.stop(1.0) for server in servers))
            stop_metrics()
        logger.info("stopped")
        if self.deaf:
            raise DeafError("gRPC has stopped listening, which a broken frame can bring about: start again")

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

    def _listen(self) -> tuple[list[grpc.aio.Server], list[str]]:
        """The servers, of all services and of health alone, and their addresses."""
        calls = Calls(self.access.callers, self.metrics, self.access.connections.reader_timeout)
        options = OPTIONS + self.access.connections.options
        server = grpc.aio.server(options=options, interceptors=[calls, DecodingInterceptor(self.metrics)])
        add_CharloomServiceServicer_to_server(self.servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        address = open_port(server, self.config.host, self.config.port, self.access.credentials)
        if self.config.health_port is None:
            return [server], [address]
        beside = grpc.aio.server(options=options)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, beside)
        return [server, beside], [address, open_port(beside, self.config.tcp_host, self.config.health_port)]

    async def _report_health(self, servers: list[grpc.aio.Server], stop: asyncio.Event) -> None:
        """Keeps the health service up to date, and has the server end if nobody can reach it any more."""
        while True:
            healthy = [engine.see_to(self.config.patience) for engine in self.engines.values()]
            if not all(map(listens, servers)):
                self.deaf = True
                stop.set()
            alive = all(healthy) and not self.deaf
            failing = any(engine.thread.failing for engine in self.engines.values())
            ready = alive and not failing and not self.servicer.draining
            self.health.set(LIVENESS, SERVING if alive else NOT_SERVING)
            for name in ("", SERVICE):
                self.health.set(name, SERVING if ready else NOT_SERVING)
            self.servicer.beat(self.config.heartbeat)
            await asyncio.sleep(1)

    async def _drain(self) -> None:
        """Takes no more requests and waits for those that run, at most the grace period."""
        self.servicer.drain()
        for name in ("", SERVICE):
            self.health.set(name, NOT_SERVING)
        logger.info("shutting down: running texts have %g s to finish", self.config.grace)
        deadline = asyncio.get_running_loop().time() + self.config.grace
        while asyncio.get_running_loop().time() < deadline:
            if self.servicer.idle:
                return
            await asyncio.sleep(0.02)


def listens(server: grpc.aio.Server) -> bool:
    """Whether gRPC still takes connections.

    It ends its loop, with no word to anybody, at a method whose name is no UTF-8, and has no public way
    to ask.
    """
    return bool(server._server.is_running())  # type: ignore[attr-defined]


def open_port(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None
) -> str:
    """Lets a server listen; gives the address.

    Raises:
        PortError: the port cannot be opened.
    """
    address = host if is_unix(host) else host_port(host, port)
    try:
        if credentials is None:
            opened = server.add_insecure_port(address)
        else:
            opened = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        reason = "is it an address of this machine, and the port free?"
        raise PortError(f"cannot open {address}: {reason}") from error
    return host if is_unix(host) else host_port(host, opened)


def host_port(host: str, port: int) -> str:
    """An address as URLs and gRPC write it: an IPv6 host in brackets."""
    return f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"

"""The server: its ports, health and metrics, and the order of starting and stopping."""

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
from serving.metrics import Metrics
from serving.models import Models
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
    # Two servers on one port would share it silently, and each get half the calls.
    ("grpc.so_reuseport", 0),
    # gRPC cancels calls beyond its own queue of 1,000. The engine limits admission, and says why and when
    # to retry; this only bounds the memory of a flood.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)
LIVENESS = "liveness"
"""Health service that says whether bursts advance; the others say whether requests are accepted."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class PortError(CharloomError):
    """A gRPC port cannot be opened."""


class ListenError(CharloomError):
    """gRPC has stopped listening by itself."""


@dataclass(frozen=True)
class Access:
    """How clients connect, and who may."""

    connections: ConnectionConfig = ConnectionConfig()
    credentials: grpc.ServerCredentials | None = None
    """Certificate and key that encrypt connections; None for plain ones."""
    callers: Callers = field(default_factory=Callers)


class Server:
    """Serves models until it is told to stop."""

    def __init__(
        self,
        models: Models,
        metrics: Metrics,
        config: ServerConfig,
        limits: RequestLimits,
        sealer: Sealer,
        conversation_limits: ConversationLimits = ConversationLimits(),
        access: Access = Access(),
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.config = config
        self.access = access
        self.servicer = Servicer(models, limits, metrics, sealer, conversation_limits)
        self.health = Health()
        self.listening = True
        """False once gRPC has stopped listening by itself."""

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets running texts finish within the grace period.

        Raises:
            PortError: the gRPC port cannot be opened.
            ListenError: gRPC has stopped listening by itself; running texts got the grace period too.
            MetricsError: the metrics port cannot be opened.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        servers, addresses = self._listen()
        metrics_host = self.config.metrics_host or self.config.tcp_host
        metrics_port, stop_metrics = self.metrics.listen(metrics_host, self.config.metrics_port)
        for model in self.models:
            model.start()
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
            for model in self.models:
                await model.stop()
                self.health.remove(health_service(model.name))
            # Time for the last messages, such as the errors of abandoned streams.
            await asyncio.gather(*(server.stop(1.0) for server in servers))
            stop_metrics()
        logger.info("stopped")
        if not self.listening:
            raise ListenError("gRPC has stopped listening, which a broken frame can bring about: start again")

    def _listen(self) -> tuple[list[grpc.aio.Server], list[str]]:
        """Opens the ports of all services and of health alone; returns the servers and their addresses."""
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
        """Updates the health service every second, and ends the server if nobody can reach it any more."""
        while True:
            for model in self.models:
                model.check_health(self.config.patience)
            if not all(map(listens, servers)):
                self.listening = False
                stop.set()
            self._set_health()
            self.servicer.heartbeat(self.config.heartbeat)
            await asyncio.sleep(1)

    def _set_health(self) -> None:
        """Sets the status of every health service."""
        models = list(self.models)
        accepting = self.listening and not self.servicer.draining
        statuses = {health_service(model.name): accepting and model.ready for model in models}
        statuses |= dict.fromkeys(("", SERVICE), accepting and all(model.ready for model in models))
        statuses[LIVENESS] = self.listening and all(model.alive for model in models)
        for name, healthy in statuses.items():
            self.health.set(name, SERVING if healthy else NOT_SERVING)

    async def _drain(self) -> None:
        """Refuses new requests and waits for those that run, at most the grace period."""
        self.servicer.drain()
        self._set_health()
        logger.info("shutting down: running texts have %g s to finish", self.config.grace)
        deadline = asyncio.get_running_loop().time() + self.config.grace
        while asyncio.get_running_loop().time() < deadline:
            if self.servicer.idle:
                return
            await asyncio.sleep(0.02)


def health_service(model: str) -> str:
    """Returns the name under which the health service knows a model."""
    return f"{SERVICE}/{model}"


def listens(server: grpc.aio.Server) -> bool:
    """Returns whether gRPC still accepts connections.

    It ends its loop silently at a method whose name is not UTF-8, and has no public way to ask.
    """
    return bool(server._server.is_running())  # type: ignore[attr-defined]


def open_port(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None
) -> str:
    """Opens a port of a server; returns the address.

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
    """Returns an address as URLs and gRPC write it: an IPv6 host in brackets."""
    return f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"

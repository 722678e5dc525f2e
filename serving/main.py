"""The `serve` command. What runs is imported when it runs, so that `--help` is quick."""

import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from serving.config import ServerConfig
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.logs import LogConfig, configure
from serving.rpc.connections import ConnectionConfig
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.security.config import CallersConfig, SealingConfig, TlsConfig
from serving.rpc.security.exposure import check_exposure

if TYPE_CHECKING:
    from serving.metrics import Metrics
    from serving.served_model import ServedModel

FLAT = Parameter(name="*")
"""On the command line an option goes by its own name, without its group's."""


def serve(
    bundle: list[Path],
    /,
    *,
    server: Annotated[ServerConfig, FLAT] = ServerConfig(),
    tls: Annotated[TlsConfig, FLAT] = TlsConfig(),
    calling: Annotated[CallersConfig, FLAT] = CallersConfig(),
    connections: Annotated[ConnectionConfig, FLAT] = ConnectionConfig(),
    running: Annotated[RunnerConfig, FLAT] = RunnerConfig(),
    scheduling: Annotated[SchedulerConfig, FLAT] = SchedulerConfig(),
    limits: Annotated[RequestLimits, FLAT] = RequestLimits(),
    conversing: Annotated[ConversationLimits, FLAT] = ConversationLimits(),
    sealing: Annotated[SealingConfig, FLAT] = SealingConfig(),
    logs: Annotated[LogConfig, FLAT] = LogConfig(),
) -> None:
    """Stream from one or more bundles over gRPC, until SIGTERM or Ctrl-C.

    Args:
        bundle: Directories that `charloom export` made.
        server: Where the server listens and how it ends.
        tls: How connections are encrypted.
        calling: Who may call.
        connections: What a connection may carry.
        running: Where bursts run.
        scheduling: How streams share the machine.
        limits: What a request may ask for.
        conversing: What a conversation may hold.
        sealing: How state tokens are sealed.
        logs: What the log looks like.
    """
    import asyncio

    from serving.metrics import Metrics
    from serving.models import Models
    from serving.rpc.security.callers import Callers
    from serving.rpc.security.sealing import Sealer
    from serving.rpc.security.tls import server_credentials
    from serving.server import Access, Server

    configure(logs)
    callers = Callers(calling.tokens)
    if not server.insecure_public:
        authenticates = callers.known or tls.tls_client_ca is not None
        check_exposure(server.host, encrypts=tls.tls_key is not None, knows_callers=authenticates)
    access = Access(connections, server_credentials(tls), callers)
    sealer = Sealer.load(sealing)
    metrics = Metrics()
    models = Models([load(path, running, scheduling, metrics) for path in bundle])
    # Otherwise each garbage collection would traverse all that is loaded, and stays; with thousands of
    # calls, collections are frequent.
    gc.collect()
    gc.freeze()
    asyncio.run(Server(models, metrics, server, limits, sealer, conversing, access).run())


def load(path: Path, running: RunnerConfig, scheduling: SchedulerConfig, metrics: "Metrics") -> "ServedModel":
    """Loads a bundle and logs what it is."""
    from serving.served_model import ServedModel

    model = ServedModel.load(path, running, scheduling, metrics)
    logging.getLogger(__name__).info(
        "model %s %s: %s, exact on %s",
        model.name,
        model.bundle.manifest.version,
        model.bundle.manifest.architecture.description,
        model.executor.execution_class,
    )
    return model

"""The `serve` command."""

import asyncio
import gc
import logging
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from serving.engine.runner import RunnerConfig
from serving.engine.scheduler import SchedulerConfig
from serving.logs import LogConfig, configure
from serving.metrics import Metrics
from serving.models import Models
from serving.rpc.connections import ConnectionConfig
from serving.rpc.conversation import ConversationLimits
from serving.rpc.convert import RequestLimits
from serving.rpc.security.callers import Callers, CallersConfig
from serving.rpc.security.exposure import check_exposure
from serving.rpc.security.sealing import Sealer, SealingConfig
from serving.rpc.security.tls import TlsConfig
from serving.served_model import ServedModel
from serving.server import Access, Server, ServerConfig

Flat = Parameter(name="*")


def serve(
    bundle: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    server: Annotated[ServerConfig, Flat] = ServerConfig(),
    tls: Annotated[TlsConfig, Flat] = TlsConfig(),
    calling: Annotated[CallersConfig, Flat] = CallersConfig(),
    connections: Annotated[ConnectionConfig, Flat] = ConnectionConfig(),
    running: Annotated[RunnerConfig, Flat] = RunnerConfig(),
    scheduling: Annotated[SchedulerConfig, Flat] = SchedulerConfig(),
    limits: Annotated[RequestLimits, Flat] = RequestLimits(),
    conversing: Annotated[ConversationLimits, Flat] = ConversationLimits(),
    sealing: Annotated[SealingConfig, Flat] = SealingConfig(),
    logs: Annotated[LogConfig, Flat] = LogConfig(),
) -> None:
    """Stream from one or more bundles over gRPC, until SIGTERM or Ctrl-C.

    Parameters
    ----------
    bundle
        Directories that `charloom export` made.
    """
    configure(logs)
    callers = Callers(calling.tokens)
    if not server.insecure_public:
        authenticates = callers.known or tls.tls_client_ca is not None
        check_exposure(server.host, encrypts=tls.tls_key is not None, knows_callers=authenticates)
    access = Access(connections, tls.credentials(), callers)
    sealer = Sealer.load(sealing)
    metrics = Metrics()
    models = Models([load(path, running, scheduling, metrics) for path in bundle])
    # Otherwise each garbage collection would traverse all that is loaded, and stays; with thousands of
    # calls, collections are frequent.
    gc.collect()
    gc.freeze()
    asyncio.run(Server(models, metrics, server, limits, sealer, conversing, access).run())


def load(path: Path, running: RunnerConfig, scheduling: SchedulerConfig, metrics: Metrics) -> ServedModel:
    """Loads a bundle and logs what it is."""
    model = ServedModel.load(path, running, scheduling, metrics)
    architecture = model.bundle.manifest.architecture
    logging.getLogger(__name__).info(
        "model %s %s: %s, %d x %d cells, exact on %s",
        model.name,
        model.bundle.manifest.version,
        architecture.cell.upper(),
        architecture.layers,
        architecture.cells,
        model.executor.execution_class,
    )
    return model

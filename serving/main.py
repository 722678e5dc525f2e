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
from serving.models import Model, Models
from serving.rpc.connections import ConnectionConfig
from serving.rpc.conversation import ConversationLimits
from serving.rpc.convert import RequestLimits
from serving.rpc.security.callers import Callers, CallersConfig
from serving.rpc.security.exposure import check_exposure
from serving.rpc.security.sealing import Sealer, SealingConfig
from serving.rpc.security.tls import TlsConfig
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
    models = Models([load(path, running, scheduling.largest_batch) for path in bundle])
    # What is loaded stays: without it, each collection would look through all of it again, and with
    # thousands of calls under way, collections come often.
    gc.collect()
    gc.freeze()
    asyncio.run(Server(models, server, scheduling, limits, sealer, conversing, access).run())


def load(path: Path, running: RunnerConfig, largest_batch: int) -> Model:
    """Loads a bundle and says what became of it."""
    model = Model.load(path, running, largest_batch)
    logging.getLogger(__name__).info(
        "model %s %s: %s, exact on %s",
        model.name,
        model.bundle.manifest.version,
        model.bundle.manifest.architecture.description,
        model.runner.execution_class,
    )
    return model

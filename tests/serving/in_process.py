"""A model behind a real gRPC port of this process, with sealing keys that every such server has."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from charloom.v1.charloom_pb2_grpc import CharloomServiceStub, add_CharloomServiceServicer_to_server
from serving.engine.config import SchedulerConfig
from serving.metrics import Metrics
from serving.model import Model
from serving.models import Models
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.security.sealing import Key, Sealer
from serving.rpc.servicer import Servicer
from serving.served_model import ServedModel


@asynccontextmanager
async def connected(
    model: Model,
    scheduling: SchedulerConfig,
    limits: ConversationLimits = ConversationLimits(),
    options: Sequence[tuple[str, int]] = (),
) -> AsyncIterator[tuple[CharloomServiceStub, Servicer]]:
    """Serves a model, and connects to it by a channel of these options."""
    metrics = Metrics()
    served = ServedModel(model, scheduling, metrics)
    sealer = Sealer([Key("a", bytes(32))], lifetime=0)
    servicer = Servicer(Models([served]), RequestLimits(), metrics, sealer, limits)
    server = grpc.aio.server()
    add_CharloomServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    served.start()
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            yield CharloomServiceStub(channel), servicer
    finally:
        await server.stop(0)
        await served.stop()

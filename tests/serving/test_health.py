"""What the health service says, and to whom."""

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.rpc.health import Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_says_how_services_are_and_tells_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rpc.health.POLL_SECONDS", 0.02)

    async def main() -> None:
        health = Health()
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Check(health_pb2.HealthCheckRequest(service="one"))
            assert raised.value.code() == grpc.StatusCode.NOT_FOUND
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="one"))
            assert (await watch.read()).status == SERVICE_UNKNOWN
            for status in (SERVING, NOT_SERVING):
                health.set("one", status)
                assert (await watch.read()).status == status
                answer = await stub.Check(health_pb2.HealthCheckRequest(service="one"))
                assert answer.status == status
            watch.cancel()
        await server.stop(0)

    asyncio.run(main())

"""The health service (grpc.health.v1): what it says of each service, and telling those who watch.

grpc_health's own holds a lock while it writes to a watcher, and takes the same lock to change a status:
one watcher who reads nothing would stop the server from noticing anything. Here nobody waits for a reader.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Response = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]

LOOK_SECONDS = 0.5
"""Seconds between two looks at what a watcher watches."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Says how services are."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}

    def set(self, service: str, status: int) -> None:
        """Changes the status of a service."""
        self._statuses[service] = status

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802
        """How a service is; NOT_FOUND for one that nothing is known of."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Response(status=status)

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """How a service is, and each time that changes how it is then, until the client goes."""
        told = None
        while True:
            status = self._statuses.get(request.service, Response.SERVICE_UNKNOWN)
            if status != told:
                yield Response(status=status)
                told = status
            await asyncio.sleep(LOOK_SECONDS)

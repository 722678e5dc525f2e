"""The health service (grpc.health.v1): the status of each service, checked and watched.

grpc_health's own holds a lock while it writes to a watcher, and takes the same lock to change a status:
one watcher that reads nothing would block every change. Here no change waits for a watcher.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Response = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]

POLL_SECONDS = 0.5
"""Seconds between two looks at the status that a watcher watches."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The status of each service by name."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}

    def set(self, service: str, status: int) -> None:
        """Sets the status of a service."""
        self._statuses[service] = status

    def remove(self, service: str) -> None:
        """Removes a service, which is unknown from then on."""
        self._statuses.pop(service, None)

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Returns the status of a service; NOT_FOUND for an unknown one."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Response(status=status)

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Yields the status of a service, and each change of it, until the client cancels the call."""
        sent = None
        while True:
            status = self._statuses.get(request.service, Response.SERVICE_UNKNOWN)
            if status != sent:
                yield Response(status=status)
                sent = status
            await asyncio.sleep(POLL_SECONDS)

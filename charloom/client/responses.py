"""The responses of one call, for threads and for asyncio, from a server that is watched."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from charloom.client.request_error import RequestError, aborted, timed_out
from charloom.client.watchdog import AsyncWatchdog, Watchdog


def read(call: Any, timeout: float) -> Generator[Any, None, None]:
    """Yields the responses of a call, and aborts it if they are read no further.

    The caller may take any time over a response.

    Args:
        call: a call of a synchronous stub.
        timeout: seconds without a response after which the server counts as hung.

    Raises:
        RequestError: the call broke off.
    """
    with Watchdog(call.cancel, timeout) as watchdog:
        try:
            for response in call:
                watchdog.pause()
                yield response
                watchdog.feed()
        except grpc.RpcError as error:
            raise timed_out(timeout) if watchdog.expired else RequestError.of(error) from error
        finally:
            call.cancel()  # one that ended stays as it is


async def read_async(call: Any, timeout: float, cancelled: Callable[[], bool]) -> AsyncGenerator[Any, None]:
    """Yields responses in an event loop, as `read` does; `cancelled` says whether the client aborted."""
    before = cancellations()
    with AsyncWatchdog(call.cancel, timeout) as watchdog:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                watchdog.pause()
                yield response
                watchdog.feed()
        except grpc.aio.AioRpcError as error:
            raise RequestError.of(error) from error
        except asyncio.CancelledError:
            if cancellations() > before:  # the task that reads is cancelled, whatever else happened
                raise
            if watchdog.expired:  # it cancelled the call
                raise timed_out(watchdog.timeout) from None
            if cancelled():
                raise aborted() from None
            raise
        finally:
            call.cancel()  # as above


def cancellations() -> int:
    """Pending cancellation requests of the running task, which may have gone on all the same."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()

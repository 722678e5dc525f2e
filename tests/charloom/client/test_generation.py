"""Generations where no server is: calls that are made up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client.generation import AsyncGeneration
from charloom.client.request_error import RequestError
from charloom.client.retries import RetryConfig


class Silent:
    """A call of which nothing ever comes, until it is cancelled."""

    def __init__(self, when_cancelled: Callable[[], object]) -> None:
        self._nothing = asyncio.get_running_loop().create_future()
        self._when_cancelled = when_cancelled

    async def read(self) -> Any:
        return await self._nothing

    def cancel(self) -> None:
        if self._nothing.cancel():
            self._when_cancelled()


def calls_until(outcome: type[BaseException], when_cancelled: Callable[[asyncio.Task[str]], object]) -> int:
    """How many calls a text makes of servers that hang, until it ends as given."""
    calls: list[Silent] = []

    async def main() -> None:
        def start(*_: object) -> Any:
            calls.append(Silent(lambda: when_cancelled(task)))
            return calls[-1]

        request = pb.GenerateRequest(prompt="a")
        generation = AsyncGeneration(start, request, None, RetryConfig(idle_timeout=0.1), addresses=2)
        task = asyncio.create_task(generation.text())
        with pytest.raises(outcome):
            await asyncio.wait_for(asyncio.shield(task), 10)

    asyncio.run(main())
    return len(calls)


def test_a_text_whose_server_hangs_is_asked_of_the_next() -> None:
    assert calls_until(RequestError, lambda task: None) == 2


def test_a_task_that_is_cancelled_as_its_server_is_given_up_ends() -> None:
    assert calls_until(asyncio.CancelledError, lambda task: task.cancel()) == 1


def test_a_task_that_outlived_a_cancellation_before_is_told_of_a_hang() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1)
        request = pb.GenerateRequest(prompt="a")
        generation = AsyncGeneration(
            lambda *_: Silent(lambda: None),  # type: ignore[arg-type, return-value]
            request,
            None,
            RetryConfig(idle_timeout=0.1),
            addresses=2,
        )
        with pytest.raises(RequestError):
            await generation.text()

    asyncio.run(main())

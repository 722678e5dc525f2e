"""Encoding off the event loop: a long text becomes token ids in a thread of its own.

One thread encodes one text after the other: what strangers send never takes more than that of a server's
time from the streams that run.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

SHORT = 2048
"""Characters that are encoded on the event loop, in a millisecond or so: a thread would cost more."""


class EncodingThread:
    """A thread for what takes long with a long text."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "encoding")

    async def run(self, characters: int, work: Callable[[], T]) -> T:
        """Does the work on a text of so many characters, and returns or raises what it does."""
        if characters <= SHORT:
            return work()
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._thread, context.run, work)

"""Watchdogs: call a function if nobody feeds them for a while; one for threads, one for an event loop."""

import asyncio
from collections.abc import Callable
from math import inf
from threading import Condition, Thread, current_thread
from time import monotonic
from typing import Self


class Watchdog:
    """Calls `on_timeout` once after `timeout` seconds without a feed, in a thread; ends with its context."""

    def __init__(self, on_timeout: Callable[[], object], timeout: float) -> None:
        self.expired = False
        self.timeout = timeout
        self._on_timeout = on_timeout
        self._fed = monotonic()
        self._over = False
        self._changed = Condition()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def feed(self) -> None:
        """Begins the timeout anew."""
        self._fed = monotonic()

    def pause(self) -> None:
        """Stops the timeout until the next feed."""
        self._fed = inf

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        # A generator that nobody holds any longer may be closed in any thread, in this one too.
        if current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._over:
                left = self._fed + self.timeout - monotonic()
                if left <= 0:
                    self.expired = True
                    self._on_timeout()
                    return
                self._changed.wait(min(left, self.timeout))


class AsyncWatchdog:
    """A watchdog in an event loop: a feed costs no more than reading the clock."""

    def __init__(self, on_timeout: Callable[[], object], timeout: float) -> None:
        self.expired = False
        self.timeout = timeout
        self._on_timeout = on_timeout
        self._fed = monotonic()

    def feed(self) -> None:
        """Begins the timeout anew."""
        self._fed = monotonic()

    def pause(self) -> None:
        """Stops the timeout until the next feed."""
        self._fed = inf

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self.timeout, self._check)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        left = self._fed + self.timeout - monotonic()
        if left > 0:
            self._timer = self._loop.call_later(min(left, self.timeout), self._check)
        else:
            self.expired = True
            self._on_timeout()

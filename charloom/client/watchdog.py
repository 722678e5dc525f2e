"""Watchdogs: do something if nobody feeds them for a while; one for threads, one for an event loop."""

import asyncio
from collections.abc import Callable
from math import inf
from threading import Condition, Thread, current_thread
from time import monotonic
from typing import Self


class Watchdog:
    """Barks once after `patience` seconds without food, in a thread of its own; ends with its context."""

    def __init__(self, bark: Callable[[], object], patience: float) -> None:
        self.barked = False
        self._bark = bark
        self._patience = patience
        self._fed = monotonic()
        self._over = False
        self._changed = Condition()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def feed(self) -> None:
        """Says that all is well."""
        self._fed = monotonic()

    def rest(self) -> None:
        """Expects nothing until it is fed again."""
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
                left = self._fed + self._patience - monotonic()
                if left <= 0:
                    self.barked = True
                    self._bark()
                    return
                self._changed.wait(min(left, self._patience))


class Patience:
    """The same in an event loop: loses itself once after `seconds` without being renewed."""

    def __init__(self, lose: Callable[[], object], seconds: float) -> None:
        self.seconds = seconds
        self.lost = False
        self._lose = lose
        self._renewed = monotonic()

    def renew(self) -> None:
        """Says that all is well; costs no more than the time of day."""
        self._renewed = monotonic()

    def rest(self) -> None:
        """Expects nothing until it is renewed."""
        self._renewed = inf

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self.seconds, self._check)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        left = self._renewed + self.seconds - monotonic()
        if left > 0:
            self._timer = self._loop.call_later(min(left, self.seconds), self._check)
        else:
            self.lost = True
            self._lose()

"""A call that is repeated on the next server whenever it breaks off, until it is done."""

import time
from typing import Any

from charloom.client.request_error import RequestError, aborted
from charloom.client.retries import UNREACHABLE, Retries, RetryConfig


class RetriedCall:
    """The attempts of one request: which call runs, and when the next one is made."""

    def __init__(self, timeout: float | None, config: RetryConfig, addresses: int) -> None:
        """Makes no call yet.

        Args:
            timeout: seconds for the whole request; None for no limit.
            config: how retries are made.
            addresses: number of servers, each of which is tried once before anything was received.
        """
        super().__init__()
        self.resumed = 0
        """How often a call broke off and another one was tried."""
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._retries = Retries(config)
        self._untried = addresses - 1
        self._cancelled = False
        self._call: Any = None

    def cancel(self) -> None:
        """Aborts the request: the server generates no more of it."""
        self._cancelled = True
        self._call.cancel()

    @property
    def _idle_timeout(self) -> float:
        """Seconds without a response after which a server counts as hung."""
        return self._retries.config.idle_timeout

    def _left(self) -> float | None:
        """Seconds for the next call; raises RequestError if the request was aborted."""
        if self._cancelled:
            raise aborted()
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _delay_after(self, error: RequestError, *, begun: bool) -> float:
        """Seconds until the next attempt; raises the error where there is to be none.

        Until anything was received (`begun`), each address is tried once and at once.
        """
        if not begun:
            self._untried -= 1
            if self._cancelled or self._untried < 0 or error.code not in UNREACHABLE:
                raise error
            self._retries.failures += 1
            return 0.0
        delay = None if self._cancelled else self._retries.delay(error.code, error.retry_after)
        if delay is None:
            raise error
        self.resumed += 1
        return delay

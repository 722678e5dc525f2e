"""A clock for the tokens of one text: when the first came, and how long the others took.

It knows the metrics that count it, and not what the tokens are.
"""

import time

from serving.metrics import Metrics


class TokenClock:
    """Measures when one text came."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._first = metrics.first_token.labels(model)
        self._between = metrics.between_tokens.labels(model)
        self._started = time.perf_counter()
        self._last: float | None = None

    def observe(self, tokens: int) -> None:
        """Takes note of a response with so many tokens."""
        if tokens == 0:
            return
        now = time.perf_counter()
        if self._last is None:
            self._first.observe(now - self._started)
        else:
            self._between.observe((now - self._last) / tokens)
        self._last = now

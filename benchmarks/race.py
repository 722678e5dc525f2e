"""A race: variants are measured in turn, so that a drift of the machine's speed hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], int]
"""Does some work and gives its amount: a number of tokens."""


def race(
    variants: Mapping[str, Call], rounds: int, seconds: float, wait: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Tokens a second of each variant, the median of the rounds.

    `wait` returns when all that was begun is done, for a device that works by itself.
    """
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            call()
            wait()
            began, tokens = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                tokens += call()
            wait()
            rates[name].append(tokens / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in rates.items()}

"""Nats: how surprising a text is, in other measures.

It knows neither what was measured nor by which model.
"""

import math


def bits(nats: float) -> float:
    """The same in bits: what it would take to store."""
    return nats / math.log(2)


def perplexity(nats_per_token: float) -> float:
    """Among how many tokens a fair choice is as unsure; infinity where no number is large enough."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf

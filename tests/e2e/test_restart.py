"""A server that is started again, with other threads and other batches, gives the bytes it gave before."""

from collections.abc import Callable
from typing import Any

import pytest

from charloom.client import Client
from tests.conftest import PRECISIONS

FILTERED = {"top_k": 30, "top_p": 0.95, "repetition_penalty": 1.2, "logit_bias": {"e": 1.5}}
REQUESTS: list[dict[str, Any]] = [
    *({"max_tokens": 200, "seed": seed} for seed in (0, 7, 2**53, 2**64 - 1)),
    {"max_tokens": 200, "seed": 3, "temperature": (0.4, 1, 1.5)},
    *({"max_tokens": 120, "seed": seed, **FILTERED} for seed in (0, 7)),
    {"max_tokens": 80, "seed": 2**64 - 3, "n": 9},
    {"max_tokens": 80, "seed": 11, "n": 6, "min_p": 0.02, "typical_p": 0.9, "stop": "\n", "min_tokens": 30},
]
PROMPTS = ("", "The ", "for x in range(10):\n    " * 20, "Съешь 👩‍🚀")


def all_texts(address: str) -> list[list[bytes]]:
    """What a server gives for every request, all of them under way at the same time."""
    with Client(address) as client:
        running = [client.generate(prompt, **options) for prompt in PROMPTS for options in REQUESTS]
        return [[text.encode() for text in generation.texts()] for generation in running]


def all_logprobs(address: str) -> list[float]:
    """Log-probabilities and those of the alternatives, which a client gets to the bit."""
    with Client(address) as client:
        pieces = list(client.generate("The ", max_tokens=60, seed=5, logprobs=3).pieces())
    places = [place for piece in pieces for place in piece.alternatives]
    return [
        *(value for piece in pieces for value in piece.logprobs),
        *(alternative.logprob for place in places for alternative in place),
    ]


@pytest.mark.slow  # test_server restarts one for a single text
@pytest.mark.parametrize("precision", PRECISIONS)
def test_another_server_gives_the_same_bytes(serve: Callable[..., Any], precision: str) -> None:
    first = serve("--precision", precision, "--threads", "1", "--max-batch", "256")
    texts, logprobs = all_texts(first.address), all_logprobs(first.address)
    first.stop()
    assert sum(map(len, texts)) == len(PROMPTS) * (7 + 9 + 6)
    assert len(logprobs) == 60 * 4
    for threads, batch in (("2", "3"), ("3", "17")):
        again = serve("--precision", precision, "--threads", threads, "--max-batch", batch)
        assert all_texts(again.address) == texts
        assert all_logprobs(again.address) == logprobs
        again.stop()

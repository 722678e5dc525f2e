"""A chunk: what goes through a model at a time when it is trained or measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from charloom.vocabulary import Tokens

UNCOUNTED = -100
"""The target of a place where nothing is to be answered."""


@dataclass(frozen=True, eq=False)
class TokenChunk:
    """What B rows are fed in S steps, and what they should answer."""

    inputs: Tokens
    """int64 [S, B]"""
    targets: Tokens
    """int64 [S, B]; UNCOUNTED where nothing is answered."""
    carried: int
    """The first so many rows go on with the state after the chunk before; the others begin in a fresh one."""
    answers: float
    """Tokens that are answered; the mean of all processes that share the batch."""


class EvaluationBatches(Protocol):
    """A text, or records, to be measured."""

    @property
    def answers(self) -> int:
        """The tokens that count, all of them."""
        ...

    def chunks(self, places: int) -> Iterator[TokenChunk]:
        """Yields all chunks, each of about so many places S x B at the most."""
        ...

"""A chunk: what goes through a model at a time when it is trained or measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

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

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Where something is answered: bool [S, B]."""
        return np.not_equal(self.targets, UNCOUNTED)

    @property
    def forced(self) -> Tokens:
        """What each step of a burst chooses, int64 [S, B]: its answer, or else what the next step is fed.

        The last step, where it answers nothing, chooses any token.
        """
        return np.where(self.counted, self.targets, np.roll(self.inputs, -1, 0))


class EvaluationBatches(Protocol):
    """A text, or records, to be measured."""

    @property
    def answers(self) -> int:
        """The tokens that count, all of them."""
        ...

    def chunks(self, places: int) -> Iterator[TokenChunk]:
        """Yields all chunks, each of about so many places S x B at the most."""
        ...

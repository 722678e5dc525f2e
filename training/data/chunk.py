"""Chunks of a training text as tensors, and what makes them."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """What B rows are fed in S steps, and what they should answer, both int64 [S, B] on the device."""

    inputs: Tensor
    targets: Tensor
    """UNCOUNTED where nothing is answered."""
    carried: int
    """The first so many rows go on with the state after the chunk before; the others begin in a fresh one."""
    answers: float
    """Tokens that are answered; the mean of all ranks."""


class Batches(Protocol):
    """The training part of a text, epoch after epoch, as chunks for the rows of one rank."""

    @property
    def chunks(self) -> int:
        """Chunks of an epoch."""
        ...

    @property
    def tokens_per_step(self) -> float:
        """Tokens of all ranks that are answered in a chunk, on the average of an epoch."""
        ...

    def chunk(self, epoch: int, number: int) -> Chunk:
        """Returns a chunk of an epoch, both counted from 0."""
        ...

    def carried(self, epoch: int, number: int) -> int:
        """Returns how many rows of all ranks begin a chunk with the state after the chunk before."""
        ...

"""Batches: the training text as parallel lanes, cut into chunks for truncated backpropagation.

It knows nothing of models. Everything random here follows from the seed and the epoch alone, so
any chunk of any epoch can be made again.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charloom.errors import require
from training.corpus import Ids, ShortTextError


@dataclass(frozen=True)
class BatchConfig:
    """Size and shape of a training step."""

    batch: int = 32
    """Lanes of text read side by side in a step."""
    length: int = 64
    """Characters of each lane in a step, the reach of backpropagation; the state goes on beyond."""
    start_rate: float = 0.05
    """Share of line beginnings that are fed the start token in place of the newline."""

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "must be at least 1")
        require(self.length >= 1, "length", "must be at least 1")
        require(0 <= self.start_rate <= 1, "start-rate", "must lie between 0 and 1")


@dataclass(frozen=True)
class Epoch:
    """One reading of the text: what every lane is fed, and what it should answer, both [T, B]."""

    inputs: Ids
    targets: Ids


class Lanes:
    """The training text in B lanes of T characters.

    Each epoch turns the text like a wheel by a random offset and deals it out to the lanes, lane
    after lane; what does not fill all lanes, fewer than B characters, waits for another epoch.
    """

    def __init__(self, text: Ids, start: int, newline: int | None, config: BatchConfig, seed: int) -> None:
        """Takes token ids [n], the start token, and the newline's id where the text has one.

        Raises:
            ShortTextError: the text does not fill one chunk of every lane.
        """
        needed = config.batch * config.length
        if len(text) < needed:
            raise ShortTextError(
                f"the training part has {len(text):,} character{'s'[: len(text) != 1]}, and one step "
                f"takes {needed:,} (batch {config.batch} x length {config.length}): "
                "use a longer text, or lower --batch or --length"
            )
        self.text = text
        self.start = start
        self.newline = newline
        self.config = config
        self.seed = seed
        self.time = len(text) // config.batch
        chunks = -(-self.time // config.length)
        self.bounds = [self.time * i // chunks for i in range(chunks + 1)]
        """Where chunks begin and end: as even as can be, none longer than `length`."""

    @property
    def chunks(self) -> int:
        """Chunks of an epoch."""
        return len(self.bounds) - 1

    @property
    def spans(self) -> list[slice]:
        """The steps of each chunk."""
        return [slice(first, end) for first, end in pairwise(self.bounds)]

    def epoch(self, number: int) -> Epoch:
        """The lanes of an epoch, counted from 0.

        A lane is fed the start token, then each character it has just been asked for; at a share
        of line beginnings the start token stands in place of the newline.
        """
        random = np.random.default_rng([self.seed, number])
        wheel = np.roll(self.text, -int(random.integers(len(self.text))))
        lanes = wheel[: self.time * self.config.batch].reshape(self.config.batch, self.time)
        targets = np.ascontiguousarray(lanes.T)  # [T, B]
        inputs = np.full_like(targets, self.start)
        inputs[1:] = targets[:-1]
        if self.newline is not None and self.config.start_rate:
            breaks = np.flatnonzero(inputs.ravel() == self.newline)
            chosen = breaks[random.random(len(breaks)) < self.config.start_rate]
            inputs.ravel()[chosen] = self.start
        return Epoch(inputs, targets)

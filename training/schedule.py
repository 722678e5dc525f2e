"""The schedule of a run: when it evaluates, saves and ends.

It knows nothing of models or files, and reads no clock.
"""

import math
from dataclasses import dataclass

from training.config import RunConfig

ENOUGH = 15_000_000
"""Characters to read in a run whose number of epochs is left open."""

MOST = 100
"""Most epochs chosen for it."""

APART = 250
"""Steps between two evaluations, at the least, where their number is left open."""

READINGS = 10
"""Evaluations of a run that ends before it has read the text, at the most."""

SPARING = 3
"""Characters to train on for each that is evaluated, at the least; it takes a third of the time."""


@dataclass(frozen=True)
class Schedule:
    """A run's configuration with everything that was left open filled in."""

    steps: int
    """Steps of the whole run."""
    seconds: float
    """Time limit; 0 for none."""
    interval: int
    """Steps between evaluations."""

    @classmethod
    def of(cls, config: RunConfig, characters: int, chunks: int, held_out: int = 0) -> "Schedule":
        """The schedule for a training text of so many characters in so many chunks an epoch.

        `held_out` counts the characters of an evaluation.
        """
        epochs = config.epochs or min(MOST, ENOUGH / characters)
        steps = max(1, round(epochs * chunks))
        rest = math.ceil(SPARING * held_out * chunks / characters)
        return cls(
            steps=steps,
            seconds=config.max_minutes * 60,
            interval=config.evaluate_every or max(min(chunks, steps // READINGS), APART, rest),
        )

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        return max(step / self.steps, seconds / self.seconds if self.seconds else 0.0)

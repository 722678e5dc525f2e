"""The schedule of a run: when it evaluates, saves and ends."""

import math
from dataclasses import dataclass

from training.config import RunConfig

ENOUGH = 15_000_000
"""Tokens to read in a run whose number of epochs is left open."""

MOST = 100
"""Most epochs chosen for it."""

APART = 250
"""Steps between two evaluations, at the least, where their number is left open."""

READINGS = 10
"""Evaluations of a run that ends before it has read the text, at the most."""

SPARING = 3
"""Tokens to train on for each that is evaluated, at the least; it takes a third of the time."""

WHOLE = 65_536
"""Tokens that every evaluation may measure, however short the run."""

SHARE = 0.05
"""Share of a time limit that an evaluation may take."""


@dataclass(frozen=True)
class Schedule:
    """A run's configuration with everything that was left open filled in."""

    steps: int
    """Steps of the whole run."""
    seconds: float
    """Time limit in seconds; 0 for none."""
    interval: int
    """Steps between evaluations."""
    held_out: int = 0
    """Tokens that an evaluation measures, at the most."""

    @classmethod
    def of(cls, config: RunConfig, tokens: int, chunks: int, held_out: int = 0) -> "Schedule":
        """Makes the schedule for a text.

        Args:
            config: the configuration, in which lengths may be left open.
            tokens: tokens of the training text.
            chunks: steps of an epoch.
            held_out: tokens of the held-out text.
        """
        epochs = config.epochs or min(MOST, ENOUGH / tokens)
        steps = max(1, round(epochs * chunks))
        held_out = min(held_out, max(WHOLE, int(epochs * tokens) // (READINGS * SPARING)))
        rest = math.ceil(SPARING * held_out * chunks / tokens)
        return cls(
            steps=steps,
            seconds=config.max_minutes * 60,
            interval=config.evaluate_every or max(min(chunks, steps // READINGS), APART, rest),
            held_out=held_out,
        )

    def enough(self, tokens: int, seconds: float) -> bool:
        """Returns whether the first evaluation has measured enough tokens, or for long enough."""
        return tokens >= self.held_out or 0 < self.seconds * SHARE <= seconds

    def progress(self, step: int, seconds: float) -> float:
        """Returns the share of the run that is done, by steps or by time, whichever is further."""
        return max(step / self.steps, seconds / self.seconds if self.seconds else 0.0)

    def seconds_left(self, step: int, elapsed: float, training: float, evaluation: float) -> float:
        """Estimates how long the run still takes.

        Args:
            step: steps done.
            elapsed: seconds that the run has taken.
            training: those of them in which it trained.
            evaluation: seconds of one evaluation.
        """
        steps = max(0, self.steps - step)
        evaluations = math.ceil(steps / self.interval)
        seconds = steps * training / max(1, step) + evaluations * evaluation
        if self.seconds:
            seconds = min(seconds, self.seconds - elapsed)
        return max(0.0, seconds)

"""Outcomes of trials: losses, sizes and times, as the table and the plot show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from training.sweeping.space import Value

MARKS = 27
"""Equal shares of a run after which trials are compared: 27 of them, a power of hyperband's factor of 3."""

Kind = Literal["done", "pruned", "failed", "killed", "running", "waiting"]
"""Killed: given up, since its process died again and again. Waiting: stopped, and to be resumed."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one trial."""

    kind: Kind
    loss: float | None = None
    """The best validation loss, nats a token."""
    epoch: float = 0.0
    """Epochs read."""
    seconds: float = 0.0
    parameters: int = 0
    """Number of the model's parameters."""
    note: str = ""
    """The error of a failed trial."""


@dataclass(frozen=True)
class Row:
    """One trial of a sweep."""

    place: int
    """Number of the first attempt at it."""
    folder: str
    """Name of its run folder."""
    values: Mapping[str, Value]
    """The varied options, by name."""
    machine: str
    """Name of the machine that trained it last."""
    curve: Mapping[float, float]
    """Validation loss, by share of the run."""
    outcome: Outcome

    @property
    def name(self) -> str:
        """The trial's name."""
        return trial_name(self.place)


def trial_name(place: int) -> str:
    """The name of a trial, and of its run folder unless another process still uses that."""
    return f"trial-{place:03}"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows by loss, the lowest first; those without one at the end."""
    infinite = float("inf")
    return sorted(
        rows, key=lambda row: (infinite if row.outcome.loss is None else row.outcome.loss, row.place)
    )


def best_of(rows: Sequence[Row]) -> Row | None:
    """The row of the lowest loss; None if none has a loss."""
    return next((row for row in ranked(rows) if row.outcome.loss is not None), None)

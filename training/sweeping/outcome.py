"""What became of trials: data, and nothing that knows where it is kept or shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from training.sweeping.space import Value

MARKS = 27
"""Points of a run, equally far apart, at which trials are compared; hyperband does so at every third of
a third of a third."""

Kind = Literal["done", "pruned", "failed", "killed", "running", "waiting"]
"""Killed: given up, since its process died again and again. Waiting: stopped, and to go on."""


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    kind: Kind
    loss: float | None = None
    """Its best validation loss, nats a token."""
    epoch: float = 0.0
    """Epochs read."""
    seconds: float = 0.0
    parameters: int = 0
    """Size of the model."""
    note: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Row:
    """One trial of a sweep."""

    place: int
    """Its number."""
    folder: str
    """Name of its run folder."""
    values: Mapping[str, Value]
    """What it has of the options that vary."""
    machine: str
    """Where it was trained last."""
    curve: Mapping[float, float]
    """Share of the run to the validation loss there."""
    outcome: Outcome

    @property
    def name(self) -> str:
        """What it is called."""
        return trial_name(self.place)


def trial_name(place: int) -> str:
    """What a trial is called, and its run folder unless another process still uses that."""
    return f"trial-{place:03}"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows by loss, the best first; those without one at the end."""
    infinite = float("inf")
    return sorted(
        rows, key=lambda row: (infinite if row.outcome.loss is None else row.outcome.loss, row.place)
    )


def best_of(rows: Sequence[Row]) -> Row | None:
    """The row of the lowest loss, if any has one."""
    return next((row for row in ranked(rows) if row.outcome.loss is not None), None)

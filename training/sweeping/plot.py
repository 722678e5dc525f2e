"""The plot of a sweep: the losses trial by trial, over each run, and by each option that varies."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from charloom.plot import Axis, Dot, Field, Line, grid
from training.sweeping.outcome import Row, best_of
from training.sweeping.space import Choice, Value, Variation
from training.sweeping.table import shown

OTHER, BEST = "c0", "c1"
"""Colours of a trial."""


def plot(rows: Sequence[Row], variations: Mapping[str, Variation]) -> str:
    """An SVG file of all trials that have a loss; a hollow dot is one that was ended early."""
    best = best_of(rows)
    known = [row for row in rows if row.outcome.loss is not None]
    losses = Axis.over([loss_of(row) for row in known], ".4g")
    fields = [by_trial(known, best, losses), by_share(known, best)]
    for name, variation in variations.items():
        fields.append(by_option([row for row in known if name in row.values], best, name, variation, losses))
    return grid("validation losses of a sweep", fields)


def by_trial(rows: Sequence[Row], best: Row | None, losses: Axis) -> Field:
    """The loss of each trial, with the lowest so far as a line."""
    lowest = accumulate(map(loss_of, rows), min)
    line = Line([(row.place, loss) for row, loss in zip(rows, lowest, strict=True)], "pale")
    places = Axis.over([row.place for row in rows], ".0f")
    dots = [dot(row.place, row, best) for row in rows]
    return Field("validation loss by trial", places, losses, [line], dots)


def by_share(rows: Sequence[Row], best: Row | None) -> Field:
    """The loss of each trial in the course of its run, the best trial on top."""
    losses = Axis.over([loss for row in rows for loss in row.curve.values()], ".4g")
    lines = [
        Line(list(row.curve.items()), BEST if row is best else "pale thin")
        for row in sorted(rows, key=lambda row: row is best)
    ]
    shares = Axis(0, 1, {0: "0%", 0.5: "50%", 1: "100%"})
    return Field("validation loss over a run", shares, losses, lines)


def by_option(rows: Sequence[Row], best: Row | None, name: str, variation: Variation, losses: Axis) -> Field:
    """The loss by the value of one option."""
    if isinstance(variation, Choice):
        places: dict[Value, float] = {value: place for place, value in enumerate(variation.values)}
        across = Axis(0, len(places) - 1, {place: shown(value) for value, place in places.items()})
    else:
        ends = {end: f"{end:.4g}" for end in (variation.low, variation.high)}
        across = Axis(variation.low, variation.high, ends, variation.log)
        places = {row.values[name]: float(row.values[name]) for row in rows}
    return Field(name, across, losses, dots=[dot(places[row.values[name]], row, best) for row in rows])


def dot(at: float, row: Row, best: Row | None) -> Dot:
    """The dot of one trial, at a place across."""
    colour = BEST if row is best else OTHER
    kind = colour if row.outcome.kind == "done" else f"{colour} hollow"
    return Dot((at, loss_of(row)), kind, f"{row.name}: {loss_of(row):.4f}, {row.outcome.kind}")


def loss_of(row: Row) -> float:
    """The loss of a row that has one."""
    assert row.outcome.loss is not None
    return row.outcome.loss

"""The plot of a sweep as SVG: the losses trial by trial and over each run, and by each option.

It knows trials and options; how a picture looks is of `charloom/svg.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from charloom.svg import Place, Scale, document, dot, label, polyline
from training.sweeping.outcome import Row, best_of
from training.sweeping.space import Choice, Value, Variation
from training.sweeping.table import shown

WIDTH, HEIGHT = 420, 250
"""Of a pair of axes, with what is around it."""
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 30, 30
"""That which is around it."""
INSIDE = 0.04
"""Share of an axis that is left free at each end."""
COLUMNS = 2
ONE, BEST = "c0", "c1"
"""Colours of a trial."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """The bounds of an axis, and the labels of some values on it."""

    low: float
    high: float
    labels: Mapping[float, str]
    log: bool = False

    def scale(self, begin: float, end: float) -> Scale:
        """From values to places, if it lies so in a picture."""
        return Scale(self.low, self.high, begin, end, self.log)


class Axes:
    """A pair of axes with a title, at some place of the plot."""

    def __init__(self, title: str, across: Axis, up: Axis, number: int) -> None:
        left, top = number % COLUMNS * WIDTH + LEFT, number // COLUMNS * HEIGHT + TOP
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        right, bottom = left + width, top + height
        self.x = across.scale(left + INSIDE * width, right - INSIDE * width)
        self.y = up.scale(bottom - INSIDE * height, top + INSIDE * height)
        self.parts = [
            f'<rect class="field" x="{left}" y="{top}" width="{width}" height="{height}"/>',
            label(title, (left, top - 10), "head"),
            *(label(said, (self.x(at), bottom + 16), "tick", "middle") for at, said in across.labels.items()),
            *(label(said, (left - 6, self.y(at) + 4), "tick", "end") for at, said in up.labels.items()),
        ]

    def line(self, points: Iterable[Point], kind: str) -> None:
        """Draws a line through points."""
        self.parts.append(polyline(map(self.place, points), kind))

    def dot(self, point: Point, kind: str, said: str) -> None:
        """Draws a point, with words that appear when it is pointed at."""
        self.parts.append(dot(self.place(point), 4, kind, said))

    def place(self, point: Point) -> Place:
        """Where a point lies in the plot."""
        return self.x(point[0]), self.y(point[1])


def plot(rows: Sequence[Row], variations: Mapping[str, Variation]) -> str:
    """An SVG document of all trials that have a loss; a hollow point is one that was ended early."""
    best = best_of(rows)
    known = [row for row in rows if row.outcome.loss is not None]
    losses = [loss_of(row) for row in known]
    up = spread(losses, ".4g")
    fields = [by_trial(known, best, up, 0), by_share(known, best, 1)]
    for number, (name, variation) in enumerate(variations.items(), len(fields)):
        fields.append(
            by_option([row for row in known if name in row.values], best, name, variation, up, number)
        )
    parts = [part for axes in fields for part in axes.parts]
    height = -(-len(fields) // COLUMNS) * HEIGHT
    return document("validation losses of a sweep", COLUMNS * WIDTH, height, parts)


def by_trial(rows: Sequence[Row], best: Row | None, up: Axis, number: int) -> Axes:
    """The loss of each trial, with the lowest so far as a line."""
    across = spread([row.place for row in rows], ".0f")
    axes = Axes("validation loss by trial", across, up, number)
    lowest = accumulate(map(loss_of, rows), min)
    axes.line(((row.place, loss) for row, loss in zip(rows, lowest, strict=True)), "pale")
    for row in rows:
        mark(axes, row.place, row, best)
    return axes


def by_share(rows: Sequence[Row], best: Row | None, number: int) -> Axes:
    """The loss of each trial in the course of its run."""
    up = spread([loss for row in rows for loss in row.curve.values()], ".4g")
    axes = Axes("validation loss over a run", Axis(0, 1, {0: "0%", 0.5: "50%", 1: "100%"}), up, number)
    for row in sorted(rows, key=lambda row: row is best):
        axes.line(row.curve.items(), BEST if row is best else "pale thin")
    return axes


def by_option(
    rows: Sequence[Row], best: Row | None, name: str, variation: Variation, up: Axis, number: int
) -> Axes:
    """The loss by the value of one option."""
    if isinstance(variation, Choice):
        places: dict[Value, float] = {value: place for place, value in enumerate(variation.values)}
        across = Axis(0, len(places) - 1, {place: shown(value) for value, place in places.items()})
    else:
        ends = {end: f"{end:.4g}" for end in (variation.low, variation.high)}
        across = Axis(variation.low, variation.high, ends, variation.log)
        places = {row.values[name]: float(row.values[name]) for row in rows}
    axes = Axes(name, across, up, number)
    for row in rows:
        mark(axes, places[row.values[name]], row, best)
    return axes


def mark(axes: Axes, at: float, row: Row, best: Row | None) -> None:
    """Draws one trial."""
    colour = BEST if row is best else ONE
    kind = colour if row.outcome.kind == "done" else f"{colour} hollow"
    axes.dot((at, loss_of(row)), kind, f"{row.name}: {loss_of(row):.4f}, {row.outcome.kind}")


def loss_of(row: Row) -> float:
    """The loss of a row that has one."""
    assert row.outcome.loss is not None
    return row.outcome.loss


def spread(values: Sequence[float], form: str) -> Axis:
    """An axis from the lowest to the highest value, which are its labels."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return Axis(low, high, {value: format(value, form) for value in (low, high)})

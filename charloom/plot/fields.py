"""A grid of fields, each a pair of axes with a title, lines and dots."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from charloom.plot import svg
from charloom.plot.svg import Place, Scale, label, polyline

WIDTH, HEIGHT = 420, 250
"""Size of a field, with its title and labels."""
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 30, 30
"""Room for the title and labels."""
MARGIN = 0.04
"""Share of an axis that stays empty at each end."""
COLUMNS = 2
DOT_RADIUS = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """The bounds of an axis, and labels by the values at which they stand."""

    low: float
    high: float
    labels: Mapping[float, str]
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], form: str) -> "Axis":
        """An axis from the lowest to the highest value, labelled with these two in a format."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        return cls(low, high, {value: format(value, form) for value in (low, high)})

    def scale(self, begin: float, end: float) -> Scale:
        """The scale from values to places in a picture."""
        return Scale(self.low, self.high, begin, end, self.log)


@dataclass(frozen=True)
class Line:
    """A line through points; `kind` names its classes in `svg.STYLE`."""

    points: Sequence[Point]
    kind: str


@dataclass(frozen=True)
class Dot:
    """A point; `text` appears when a mouse rests on it."""

    point: Point
    kind: str
    text: str


@dataclass(frozen=True)
class Field:
    """A pair of axes with lines and, above them, dots."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()


def grid(title: str, fields: Sequence[Field]) -> str:
    """The fields in rows of two, as an SVG file."""
    parts = [part for number, field in enumerate(fields) for part in field_parts(field, number)]
    rows = -(-len(fields) // COLUMNS)
    return svg.document(title, COLUMNS * WIDTH, rows * HEIGHT, parts)


def field_parts(field: Field, number: int) -> Iterator[str]:
    """The SVG elements of the field at an index of the grid."""
    left, top = number % COLUMNS * WIDTH + LEFT, number // COLUMNS * HEIGHT + TOP
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    right, bottom = left + width, top + height
    x = field.x.scale(left + MARGIN * width, right - MARGIN * width)
    y = field.y.scale(bottom - MARGIN * height, top + MARGIN * height)

    def place(point: Point) -> Place:
        return x(point[0]), y(point[1])

    yield f'<rect class="field" x="{left}" y="{top}" width="{width}" height="{height}"/>'
    yield label(field.title, (left, top - 10), "head")
    for at, text in field.x.labels.items():
        yield label(text, (x(at), bottom + 16), "tick", "middle")
    for at, text in field.y.labels.items():
        yield label(text, (left - 6, y(at) + 4), "tick", "end")
    for line in field.lines:
        yield polyline(map(place, line.points), line.kind)
    for dot in field.dots:
        yield svg.dot(place(dot.point), DOT_RADIUS, dot.kind, dot.text)

"""Plots: curves as SVG, in panels one above the other over one axis.

It knows numbers and names, and not what they are of; how a picture looks is of `svg.py`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charloom import svg
from charloom.svg import COLOURS, Scale, dot, label, polyline

WIDTH, HEIGHT = 800, 120
LEFT, RIGHT, ABOVE, BELOW = 64, 16, 26, 22
"""Room around the curves of a panel, for ticks and names."""
MOST_POINTS = 400
"""Of a curve; of more, the means of neighbours are drawn."""
MARKED = 60
"""Points of a curve up to which each is marked, and says its values where a mouse rests on it."""

STYLE = svg.STYLE
"""What a page with plots needs once."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A named line; its points are finite and go from left to right."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis of values."""

    curves: Sequence[Curve]
    from_zero: bool = True
    """Whether the axis begins at 0, rather than near the least value."""
    height: int = HEIGHT
    """Of the curves alone."""


def document(title: str, panels: Sequence[Panel], across: str) -> str:
    """A plot as a file of its own."""
    return svg.document(title, WIDTH, height_of(panels), drawn(panels, across))


def figure(title: str, panels: Sequence[Panel], across: str) -> str:
    """A plot as a part of a page that has STYLE; `across` names the common axis."""
    return svg.figure(title, WIDTH, height_of(panels), drawn(panels, across))


def height_of(panels: Sequence[Panel]) -> int:
    """How high a plot is."""
    return sum(ABOVE + panel.height for panel in panels) + BELOW


def drawn(panels: Sequence[Panel], across: str) -> Iterator[str]:
    """The panels, one under the other."""
    places = [x for panel in panels for curve in panel.curves for x, _ in curve.points]
    if not places:
        yield label("nothing yet", (LEFT, ABOVE))
        return
    x = Scale(min(0.0, *places), max(places) or 1.0, LEFT, WIDTH - RIGHT)
    bottom = 0
    for panel in panels:
        top, bottom = bottom + ABOVE, bottom + ABOVE + panel.height
        yield from panel_parts(panel, x, top, bottom)
    for value in ticks(x.low, x.high, 8):
        yield label(short(value, 6), (x(value), bottom + 16), "tick", "middle")
    yield label(across, (LEFT - 8, bottom + 16), "tick", "end")


def panel_parts(panel: Panel, x: Scale, top: int, bottom: int) -> Iterator[str]:
    """Grid, names and curves of a panel."""
    values = [y for curve in panel.curves for _, y in curve.points]
    y = Scale(*bounds(values, from_zero=panel.from_zero), bottom, top)
    for value in ticks(y.low, y.high, max(2, panel.height // 36)):
        yield f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
        yield label(short(value, 6), (LEFT - 8, y(value) + 4), "tick", "end")
    place = LEFT
    for number, curve in enumerate(panel.curves):
        colour = f"c{number % COLOURS}"
        last = f" {short(curve.points[-1][1])}" if curve.points else ""
        yield f'<path class="{colour}" stroke-width="3" d="M{place} {top - 11}h16"/>'
        yield label(f"{curve.name}{last}", (place + 22, top - 7))
        place += 40 + 7 * (len(curve.name) + len(last))
        yield from line(curve, colour, x, y)


def line(curve: Curve, colour: str, x: Scale, y: Scale) -> Iterator[str]:
    """A curve, and marks on it where they are few."""
    points = thinned(curve.points)
    yield polyline(((x(a), y(b)) for a, b in points), colour)
    if len(points) <= MARKED:
        for a, b in points:
            yield dot((x(a), y(b)), 2.5, colour, f"{curve.name} {short(b)} at {short(a)}")


def short(value: float, digits: int = 4) -> str:
    """A number in a few digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def bounds(values: Iterable[float], *, from_zero: bool) -> tuple[float, float]:
    """Where an axis begins and ends."""
    values = [*values] or [0.0]
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or abs(high) / 2 or 1.0
    return (low if from_zero else low - room), high + room


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two bounds, at most so many and one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """A curve of not too many points, each the mean of as many neighbours."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return points
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (math.fsum(a for a, _ in group) / len(group), math.fsum(b for _, b in group) / len(group))
        for group in groups
    ]

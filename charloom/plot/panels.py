"""Panels of curves, one above the other, over one axis."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charloom.plot import svg
from charloom.plot.svg import COLOURS, Scale, dot, label, polyline

WIDTH, HEIGHT = 800, 120
LEFT, RIGHT, ABOVE, BELOW = 64, 16, 26, 22
"""Room around the curves of a panel, for ticks and names."""
MAX_POINTS = 400
"""Points of a curve that are drawn; where there are more, the means of neighbours."""
MAX_DOTS = 60
"""Points of a curve up to which each has a dot that shows its values when a mouse rests on it."""

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
    """Whether the axis of values begins at 0, rather than near the lowest value."""
    height: int = HEIGHT
    """Height of the curves, without names and ticks."""


def document(title: str, panels: Sequence[Panel], across: str) -> str:
    """The panels as an SVG file; `across` names the common axis."""
    return svg.document(title, WIDTH, height_of(panels), drawn(panels, across))


def figure(title: str, panels: Sequence[Panel], across: str) -> str:
    """The panels as an element of a page that has `svg.STYLE`; `across` names the common axis."""
    return svg.figure(title, WIDTH, height_of(panels), drawn(panels, across))


def height_of(panels: Sequence[Panel]) -> int:
    """Height of a plot of these panels."""
    return sum(ABOVE + panel.height for panel in panels) + BELOW


def drawn(panels: Sequence[Panel], across: str) -> Iterator[str]:
    """The SVG elements of the panels and their common axis."""
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
    """The SVG elements of a panel's grid, names and curves."""
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
    """The SVG elements of a curve, with dots if its points are few."""
    points = thinned(curve.points)
    yield polyline(((x(a), y(b)) for a, b in points), colour)
    if len(points) <= MAX_DOTS:
        for a, b in points:
            yield dot((x(a), y(b)), 2.5, colour, f"{curve.name} {short(b)} at {short(a)}")


def short(value: float, digits: int = 4) -> str:
    """A number in a few digits: thousands in whole numbers."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def bounds(values: Iterable[float], *, from_zero: bool) -> tuple[float, float]:
    """Where an axis of these values begins and ends, with some room beyond them."""
    values = [*values] or [0.0]
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or abs(high) / 2 or 1.0
    return (low if from_zero else low - room), high + room


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two bounds, `most` + 1 of them at most."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """A curve of at most `MAX_POINTS` points, each the mean of as many neighbours."""
    size = -(-len(points) // MAX_POINTS)
    if size <= 1:
        return points
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (math.fsum(a for a, _ in group) / len(group), math.fsum(b for _, b in group) / len(group))
        for group in groups
    ]

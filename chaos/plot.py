"""A plot: curves over time, each in a strip of its own, as SVG.

It knows numbers and names, and not what they are of.
"""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, STRIP = 800, 90
LEFT, ROOM = 130, 20
INK = "#1f4e79"


def plot(title: str, times: Sequence[float], curves: Mapping[str, Sequence[float]]) -> str:
    """An SVG document: each curve between 0 and its largest value, times in seconds."""
    height = ROOM * 2 + len(curves) * (STRIP + ROOM)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="{ROOM}">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(curves.items()):
        parts += strip(name, times, values, ROOM * 1.5 + number * (STRIP + ROOM))
    return "\n".join([*parts, "</svg>", ""])


def strip(name: str, times: Sequence[float], values: Sequence[float], top: float) -> list[str]:
    """One curve, with its name and its largest value beside it."""
    most, last = max(values) or 1.0, max(times) or 1.0
    across, bottom = WIDTH - LEFT - ROOM, top + STRIP
    points = " ".join(
        f"{LEFT + across * time / last:.1f},{bottom - STRIP * value / most:.1f}"
        for time, value in zip(times, values, strict=True)
    )
    return [
        f'<rect x="{LEFT}" y="{top}" width="{across}" height="{STRIP}" fill="#f4f4f4"/>',
        f'<text x="8" y="{top + 12}">{escape(name)}</text>',
        f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end">0</text>',
        f'<polyline points="{points}" fill="none" stroke="{INK}"/>',
    ]

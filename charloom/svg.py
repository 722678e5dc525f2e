"""Pieces of SVG that plots are made of: scales, lines, dots, words, and the look of them all.

A picture needs nothing but what shows it: no script, no font, no network. It follows the reader's choice
of light or dark. It knows places in a picture, and not what they stand for.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from string import Template

LIGHT = {
    "paper": "#fff",
    "field": "#f6f8fa",
    "grid": "#d8dee4",
    "pale": "#b6c6d6",
    "faint": "#59636e",
    "ink": "#1f2328",
    "c0": "#0b66c3",
    "c1": "#c2410c",
    "c2": "#16794a",
}
DARK = {
    "paper": "#0d1117",
    "field": "#161b22",
    "grid": "#30363d",
    "pale": "#44566a",
    "faint": "#9198a1",
    "ink": "#e6edf3",
    "c0": "#6cb6ff",
    "c1": "#ff9a57",
    "c2": "#57d08a",
}
# Not by variables of CSS, which programs that show a picture alone often do not know.
COLOURED = Template("""\
.plot text { fill: $ink; } .plot .tick { fill: $faint; }
.plot.alone { background: $paper; } .plot .paper { fill: $paper; } .plot .field { fill: $field; }
.plot .grid { stroke: $grid; } .plot .pale { stroke: $pale; }
.plot .c0 { stroke: $c0; } .plot .c1 { stroke: $c1; } .plot .c2 { stroke: $c2; }
.plot circle.c0 { fill: $c0; } .plot circle.c1 { fill: $c1; } .plot circle.c2 { fill: $c2; }
.plot circle.hollow { fill: $field; }
""")
STYLE = f"""
.plot {{ font: 12px system-ui, sans-serif; }}
.plot .tick {{ font-variant-numeric: tabular-nums; }} .plot .head {{ font-weight: 600; }}
.plot polyline {{ fill: none; stroke-width: 1.75; stroke-linejoin: round; }}
.plot .thin {{ stroke-width: 1; }}
{COLOURED.substitute(LIGHT)}@media (prefers-color-scheme: dark) {{
{COLOURED.substitute(DARK)}}}
"""
"""What a page with pictures needs once; a document of its own has it in itself."""
COLOURS = 3
"""Classes c0, c1 and so on."""

Place = tuple[float, float]
"""In a picture: from the left, and from above."""


@dataclass(frozen=True)
class Scale:
    """From values to places, between two bounds."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is; in the middle if there is but one."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.begin + (self.end - self.begin) * share


def document(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A picture as a file of its own."""
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot alone" viewBox="0 0 {width} {height}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            # A background fills a browser's window; other programs know only what is drawn.
            f'<rect class="paper" width="{width}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def figure(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A picture as a part of a page that has STYLE."""
    about = f'class="plot" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}"'
    return "\n".join([f"<svg {about}>", *parts, "</svg>"])


def polyline(places: Iterable[Place], kind: str) -> str:
    """A line from place to place; `kind` names its classes, as everywhere here."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{kind}" points="{points}"/>'


def dot(place: Place, radius: float, kind: str, said: str) -> str:
    """A dot, which says something where a mouse rests on it."""
    x, y = place
    about = f'class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
    return f"<circle {about}><title>{escape(said)}</title></circle>"


def label(text: str, place: Place, kind: str = "", anchor: str = "start") -> str:
    """Words that begin at a place, or end there, or have it in their middle."""
    x, y = place
    about = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"' + (f' class="{kind}"' if kind else "")
    return f"<text {about}>{escape(text)}</text>"

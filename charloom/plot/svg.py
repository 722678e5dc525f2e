"""Elements of SVG: scales, lines, dots and labels, and the style sheet of all plots.

A picture loads no script, no font and nothing from a network, and follows the reader's choice of light and
dark.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from string import Template

LIGHT = {
    "back": "#fff",
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
    "back": "#0d1117",
    "field": "#161b22",
    "grid": "#30363d",
    "pale": "#44566a",
    "faint": "#9198a1",
    "ink": "#e6edf3",
    "c0": "#6cb6ff",
    "c1": "#ff9a57",
    "c2": "#57d08a",
}
# Not by variables of CSS, which many viewers of SVG files do not support.
COLOURED = Template("""\
.plot text { fill: $ink; } .plot .tick { fill: $faint; }
.plot.alone { background: $back; } .plot .back { fill: $back; } .plot .field { fill: $field; }
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
"""The style sheet, which a page with figures needs once; a document has it in itself."""
COLOURS = 3
"""Number of colours for curves: the classes c0, c1 and so on."""

Place = tuple[float, float]
"""A place in a picture: distances from the left and from the top."""


@dataclass(frozen=True)
class Scale:
    """Maps values between two bounds to places, linearly or by their logarithms."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; the middle if the bounds are equal."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.begin + (self.end - self.begin) * share


def document(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A picture as an SVG file."""
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot alone" viewBox="0 0 {width} {height}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            # The background of `.alone` fills a browser's window; other viewers show only what is drawn.
            f'<rect class="back" width="{width}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def figure(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A picture as an element of a page that has STYLE."""
    about = f'class="plot" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}"'
    return "\n".join([f"<svg {about}>", *parts, "</svg>"])


def polyline(places: Iterable[Place], kind: str) -> str:
    """A line from place to place; `kind` names its classes in STYLE, as everywhere here."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{kind}" points="{points}"/>'


def dot(place: Place, radius: float, kind: str, text: str) -> str:
    """A dot, with a text that appears when a mouse rests on it."""
    x, y = place
    about = f'class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
    return f"<circle {about}><title>{escape(text)}</title></circle>"


def label(text: str, place: Place, kind: str = "", anchor: str = "start") -> str:
    """A text at a place: its start, middle or end, as `anchor` says."""
    x, y = place
    about = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"' + (f' class="{kind}"' if kind else "")
    return f"<text {about}>{escape(text)}</text>"

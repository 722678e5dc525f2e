"""Plots as SVG: panels of curves over one axis, and grids of fields with axes of their own.

Ours rather than matplotlib, which weighs 60 MB in a job that trains, takes a second to import, and whose
pictures follow no reader's choice of light or dark.
"""

from charloom.plot.fields import Axis, Dot, Field, Line, grid
from charloom.plot.panels import Curve, Panel, Point, document, figure
from charloom.plot.svg import STYLE

__all__ = [
    "STYLE",
    "Axis",
    "Curve",
    "Dot",
    "Field",
    "Line",
    "Panel",
    "Point",
    "document",
    "figure",
    "grid",
]

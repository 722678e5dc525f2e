"""Plots: valid XML, everything in its place, whatever is to be drawn."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from charloom.plot.panels import MAX_POINTS, Curve, Panel, bounds, document, figure, short, thinned, ticks


def drawn(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(document("a < b", panels, "steps"))


def places(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each curve as they are drawn."""
    lines = [line.attrib["points"].split() for line in root.findall(".//{*}polyline")]
    return [[(float(a), float(b)) for a, b in (point.split(",") for point in line)] for line in lines]


def test_a_document_is_xml_with_a_curve_for_each() -> None:
    up, flat = Curve("up & <down>", [(0, 1), (1, 2), (2, 3)]), Curve("none", [(0, 0), (2, 0)])
    root = drawn(Panel([up]), Panel([flat, up]))
    curves = places(root)
    assert [len(curve) for curve in curves] == [3, 2, 3]
    assert "up & <down> 3" in [text.text for text in root.findall(".//{*}text")]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(0 <= x <= width and 0 <= y <= height for curve in curves for x, y in curve)
    for curve in (curves[0], curves[2]):
        assert all(later[0] > one[0] and later[1] < one[1] for one, later in pairwise(curve))
    assert curves[0][-1][1] < curves[1][0][1], "the first panel is above the second"


def test_a_figure_is_for_a_page_that_has_the_style() -> None:
    root = ElementTree.fromstring(figure('"quoted"', [Panel([Curve("x", [(1, 1)])])], "epoch"))
    assert root.attrib["aria-label"] == '"quoted"'
    assert not list(root.iter("style"))


@pytest.mark.parametrize("points", [[], [(0, 0)], [(3, 5)], [(0, -1), (1, -1)], [(0, 1e-9), (1, 1e9)]])
@pytest.mark.parametrize("from_zero", [True, False])
def test_what_is_hardly_a_curve_is_drawn_too(points: list[tuple[float, float]], from_zero: bool) -> None:
    root = drawn(Panel([Curve("x", points)], from_zero=from_zero))
    assert "nan" not in ElementTree.tostring(root, "unicode")
    assert len(places(root)) == bool(points)


def test_few_points_are_marked_and_say_their_values() -> None:
    titles = [
        title.text for title in drawn(Panel([Curve("x", [(1, 2), (2, 1234.5)])])).findall(".//{*}title")
    ]
    assert titles[1:] == ["x 2 at 1", "x 1,234 at 2"]


def test_many_points_become_the_means_of_neighbours() -> None:
    points = [(float(i), float(i % 2)) for i in range(10 * MAX_POINTS)]
    few = thinned(points)
    assert len(few) == MAX_POINTS
    assert few[0] == (4.5, 0.5)
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.4, 4.7), (0, 0.003), (-3, 12_345), (0.1, 0.1001)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    assert len({short(value, 6) for value in found}) == len(found)


def test_an_axis_has_room_and_begins_at_zero_if_it_shall() -> None:
    assert bounds([1, 3], from_zero=False) == pytest.approx((0.9, 3.1))
    assert bounds([1, 3], from_zero=True) == pytest.approx((0, 3.15))
    assert bounds([], from_zero=True) == (0, 1)

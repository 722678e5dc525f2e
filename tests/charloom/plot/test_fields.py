"""Grids of fields: every line and dot in the field that it belongs to."""

from xml.etree import ElementTree

from charloom.plot import Axis, Dot, Field, Line, grid

X, Y = Axis(0, 10, {0: "none", 10: "ten"}), Axis.over([3, 1, 2], ".1f")


def test_an_axis_spans_its_values_and_is_labelled_with_both_ends() -> None:
    assert (Y.low, Y.high, Y.labels) == (1, 3, {1: "1.0", 3: "3.0"})
    assert Axis.over([], ".0f").labels == {0.0: "0", 1.0: "1"}


def test_fields_stand_in_rows_of_two() -> None:
    field = Field("a & b", X, Y, [Line([(0, 1), (10, 3)], "c0")], [Dot((5, 2), "c1 hollow", "<here>")])
    root = ElementTree.fromstring(grid("three", [field] * 3))
    boxes = [
        tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        for box in root.findall("{*}rect[@class='field']")
    ]
    assert boxes[0][1] == boxes[1][1] < boxes[2][1]
    assert boxes[0][0] == boxes[2][0] < boxes[1][0]
    for box, line, dot in zip(boxes, root.iter("{*}polyline"), root.iter("{*}circle"), strict=False):
        left, top, width, height = box
        (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.attrib["points"].split())
        assert left < x0 < x1 < left + width
        assert top < y1 < y0 < top + height  # larger values are higher up
        assert float(dot.attrib["cx"]) == (x0 + x1) / 2
        assert dot.findtext("{*}title") == "<here>"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(x + w < width and y + h < height for x, y, w, h in boxes)
    assert len(root.findall(".//{*}polyline")) == len(root.findall(".//{*}circle")) == 3

"""Pieces of SVG: where they lie, and that whatever they say is only ever text."""

import re
from xml.etree import ElementTree

import pytest

from charloom.plot.svg import (
    COLOURED,
    COLOURS,
    DARK,
    LIGHT,
    STYLE,
    Scale,
    document,
    dot,
    figure,
    label,
    polyline,
)


def test_a_scale_goes_from_values_to_places() -> None:
    assert [Scale(0, 4, 100, 0)(value) for value in (0, 1, 4)] == [100, 75, 0]
    rates = Scale(1e-4, 1e-2, 0, 10, log=True)
    assert [rates(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 5, 10])
    assert Scale(3, 3, 10, 20)(3) == 15


def test_words_are_only_ever_text() -> None:
    said = '<script> & "quoted"'
    parts = [label(said, (1, 2)), dot((3, 4), 2.5, "c0", said), polyline([(0, 0), (1, 0.25)], "c1 thin")]
    for picture in (document(said, 10, 20, parts), figure(said, 10, 20, parts)):
        root = ElementTree.fromstring(picture)
        assert root.attrib["viewBox"] == "0 0 10 20"
        texts = [node.text for node in root.iter() if node.tag.endswith(("text", "title"))]
        assert texts
        assert set(texts) == {said}
        (line,) = root.findall(".//{*}polyline")
        assert line.attrib == {"class": "c1 thin", "points": "0.0,0.0 1.0,0.2"}


def test_light_and_dark_have_every_colour() -> None:
    assert LIGHT.keys() == DARK.keys() == set(COLOURED.get_identifiers())
    assert {f"c{number}" for number in range(COLOURS)} <= LIGHT.keys()
    assert not set(LIGHT.values()) & set(DARK.values())
    assert len(re.findall("prefers-color-scheme: dark", STYLE)) == 1
    assert STYLE.count("{") == STYLE.count("}")

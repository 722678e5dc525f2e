"""The table and the plot of a sweep."""

import csv
import io
from xml.etree import ElementTree

from training.sweeping.outcome import Row, TrialOutcome, best_of, trial_name
from training.sweeping.plot import plot
from training.sweeping.space import Space
from training.sweeping.table import csv_table, table

SPACE = Space.parse(["cells=16,32", "learning-rate=1e-4..1e-2:log"])


def row(place, kind, loss=None, cells=16, rate=1e-3, **more):
    outcome = TrialOutcome(kind, loss, epoch=2.5, seconds=61, parameters=1234, **more)
    values, curve = {"cells": cells, "learning-rate": rate}, {1 / 27: 3.0, 1.0: loss or 9.0}
    return Row(place, trial_name(place), values, "here", curve, outcome)


ROWS = [
    row(0, "done", 1.75),
    row(1, "pruned", 2.5, cells=32, rate=1e-2),
    row(2, "failed", note="<the loss> is no number, any more"),
    row(3, "done", 1.5, cells=32, rate=1e-4),
    Row(5, "trial-005", {}, "", {}, TrialOutcome("waiting")),
]


def test_the_table_has_the_best_first_and_those_without_a_loss_last():
    head, *lines = table(ROWS, list(SPACE.variations)).splitlines()
    assert head.split() == [
        "trial",
        "outcome",
        "loss",
        "epochs",
        "time",
        "parameters",
        "cells",
        "learning-rate",
    ]
    assert [line.split()[0] for line in lines] == ["003", "000", "001", "002", "005"]
    assert lines[0].split() == ["003", "done", "1.5000", "2.50", "1:01", "1,234", "32", "0.0001"]
    assert lines[-1].split() == ["005", "waiting", *["-"] * 6]


def test_a_long_table_ends_with_how_much_is_left_out():
    rows = [row(place, "done", 1.0 + place) for place in range(25)]
    lines = table(rows, ["cells"]).splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "and 5 more"


def test_csv_has_every_trial_in_its_order_to_the_last_digit():
    rows = list(csv.DictReader(io.StringIO(csv_table(ROWS, list(SPACE.variations)))))
    assert [r["trial"] for r in rows] == [f"trial-00{i}" for i in (0, 1, 2, 3, 5)]
    assert rows[2]["note"] == "<the loss> is no number, any more"
    assert float(rows[3]["validation_loss"]) == 1.5
    assert rows[4]["cells"] == rows[4]["validation_loss"] == ""


def test_the_best_is_the_lowest_loss():
    assert best_of(ROWS) is ROWS[3]
    assert best_of([ROWS[2], ROWS[4]]) is None


def test_the_plot_shows_every_trial_that_has_a_loss_in_every_panel():
    root = ElementTree.fromstring(plot(ROWS, SPACE.variations))
    names = {"svg": "http://www.w3.org/2000/svg"}
    dots = root.findall("svg:circle", names)
    assert len(dots) == 3 * (1 + len(SPACE.variations))
    assert len(root.findall("svg:polyline", names)) == 1 + 3
    _, _, width, height = map(float, root.get("viewBox").split())
    for dot in dots:
        assert 0 < float(dot.get("cx")) < width
        assert 0 < float(dot.get("cy")) < height
    assert [dot.get("class") for dot in dots[:3]] == ["c0", "c0 hollow", "c1"]
    by_rate = [float(dot.get("cx")) for dot in dots[6:9]]  # 1e-3, 1e-2, 1e-4: equally far apart
    assert abs((by_rate[1] - by_rate[0]) - (by_rate[0] - by_rate[2])) < 0.2


def test_a_plot_of_nothing_yet_is_a_plot():
    assert ElementTree.fromstring(plot([], SPACE.variations)).get("viewBox")

"""Draws the losses of a run as an SVG file, as docs/benchmarks.md shows them.

make losses RUN=runs/best
"""

import argparse
import json
from pathlib import Path

from charloom.plot import document
from training.folder import METRICS
from training.reporting.page import loss_panel


def main() -> None:
    """Reads the run's metrics, and writes the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="its folder")
    parser.add_argument("--out", type=Path, default=Path("docs/losses.svg"))
    parser.add_argument("--since", type=float, default=1.0, help="epoch at which the picture begins")
    options = parser.parse_args()
    lines = (options.run / METRICS).read_text("utf-8").splitlines()
    records = [one for one in map(json.loads, lines) if one["epoch"] >= options.since]
    options.out.write_text(document("nats a character", [loss_panel(records)], "epoch"), encoding="utf-8")


if __name__ == "__main__":
    main()

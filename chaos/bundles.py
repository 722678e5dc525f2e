"""Models to serve: a GRU in float32, an LSTM in int8 where the processor runs it, and labelled records.

They are trained for seconds on this project's own code, so that a text depends on all before it: if a state
or a label were lost, the text would change. They stay under `build/` until `make clean`.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundles import charloom
from charloom.bundle import Bundle
from charloom.execution_class import Precision
from charloom.processor import multiplies_bytes

WORK = Path("build/chaos")
SOURCES = ("charloom", "serving", "serving/engine")


@dataclass(frozen=True)
class Recipe:
    """How a model is made."""

    cell: str
    layers: int
    precisions: tuple[Precision, ...]
    records: bool = False
    """Whether it learns the text as paragraphs, each with its folder as a label."""


RECIPES = {
    "gru": Recipe("gru", 2, ("float32",)),
    "records": Recipe("lstm", 1, ("float32",), records=True),
    "lstm": Recipe("lstm", 1, ("float32", "int8") if multiplies_bytes() else ("float32",)),
}


def make_bundles() -> list[Path]:
    """The bundles; those that are missing are made."""
    return [make_bundle(name, recipe) for name, recipe in RECIPES.items()]


def make_bundle(name: str, recipe: Recipe) -> Path:
    """One bundle, whose model has the same name."""
    run, bundle = WORK / f"run-{name}", WORK / name
    if bundle.exists():
        return bundle
    WORK.mkdir(parents=True, exist_ok=True)
    text = write_records() if recipe.records else write_text()
    shape = ("--cell", recipe.cell, "--layers", recipe.layers, "--cells", 256)
    pace = ("--batch", 16, "--length", 64, "--precision", "float32", "--max-minutes", 0.25)
    columns = ("--text-column", "text", "--label-column", "folder") if recipe.records else ()
    charloom("train", text, "--out", run, *shape, *pace, *columns, "--overwrite")
    charloom("export", run, "--out", bundle, "--precision", *recipe.precisions, "--max-cost", 9)
    return bundle


def labels_of(bundles: Sequence[Path]) -> dict[str, Sequence[str]]:
    """The labels of which a record of each model has one; none for a model of continuous text."""
    columns = {path.name: Bundle.open(path).vocabulary.ids.special.labels for path in bundles}
    return {name: [value for column in found for value in column.values] for name, found in columns.items()}


def write_text() -> Path:
    """Writes the code as one text."""
    path = WORK / "text.txt"
    path.write_text(sources(), encoding="ascii")
    return path


def write_records() -> Path:
    """Writes the paragraphs of the code as a table, each with its folder."""
    path = WORK / "paragraphs.csv"
    with path.open("w", encoding="ascii", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["folder", "text"])
        for folder in SOURCES:
            rows.writerows([folder, paragraph] for paragraph in source(folder).split("\n\n") if paragraph)
    return path


def sources() -> str:
    """This project's code, without characters outside ASCII."""
    return "".join(map(source, SOURCES))


def source(folder: str) -> str:
    """The code in a folder."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.py")))
    return text.encode("ascii", "ignore").decode()

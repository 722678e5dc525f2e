"""Two models to serve: a GRU in float32, and an LSTM in int8 where the processor runs it.

They are trained for seconds on this project's own code, so that a text depends on all before it: if a state
were lost, the text would change. They stay under `build/` until `make clean`.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundles import charloom
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


RECIPES = {
    "gru": Recipe("gru", 2, ("float32",)),
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
    text = WORK / "text.txt"
    text.write_text(sources(), encoding="ascii")
    shape = ("--cell", recipe.cell, "--layers", recipe.layers, "--cells", 256)
    pace = ("--batch", 16, "--length", 64, "--precision", "float32", "--max-minutes", 0.25)
    charloom("train", text, "--out", run, *shape, *pace, "--overwrite")
    charloom("export", run, "--out", bundle, "--precision", *recipe.precisions, "--max-cost", 9)
    return bundle


def sources() -> str:
    """This project's code, without characters outside ASCII."""
    files = [path for folder in SOURCES for path in sorted(Path(folder).glob("*.py"))]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    return text.encode("ascii", "ignore").decode()

"""Models to measure: trained for a moment, since their texts do not matter, and exported.

They lie under `build/` and are made anew each time.
"""

import random
import string
import subprocess
import sys
from pathlib import Path

from charloom.execution_class import Precision
from charloom.processor import multiplies_bytes

WORK = Path("build/bench")
ALPHABET = string.ascii_letters + " .,;:'?!-&$3\n"
"""65 characters, as many as tinyshakespeare has."""


def precisions() -> tuple[Precision, ...]:
    """Those that this processor runs, the fastest last."""
    return ("float32", "int8") if multiplies_bytes() else ("float32",)


def make_run(size: str) -> Path:
    """A run of an LSTM of CELLSxLAYERS."""
    cells, layers = size.split("x")
    text, run = WORK / "text.txt", WORK / f"run-{size}"
    WORK.mkdir(parents=True, exist_ok=True)
    text.write_text("".join(random.Random(0).choices(ALPHABET, k=20_000)), encoding="utf-8")  # noqa: S311
    charloom("train", text, "--out", run, "--cells", cells, "--layers", layers, "--epochs", 1, "--overwrite")
    return run


def make_bundle(run: Path, *precisions: str) -> Path:
    """The bundle of a run."""
    bundle = run.with_name(run.name.replace("run", "bundle"))
    charloom("export", run, "--out", bundle, "--precision", *precisions, "--max-cost", 9, "--overwrite")
    return bundle


def charloom(*arguments: object) -> None:
    """Runs a command of ours; its output is shown only if it fails."""
    command = [sys.executable, "-m", "charloom", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        sys.exit(result.stderr)
